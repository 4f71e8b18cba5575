"""What `import rlsp` offers."""

import subprocess
import sys

import pytest

import rlsp


@pytest.mark.parametrize("name", rlsp.__all__)
def test_what_is_offered_is_there_and_explained(name):
    offered = getattr(rlsp, name)
    assert offered.__name__ == name and offered.__doc__
    assert name in dir(rlsp)


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="module 'rlsp' has no attribute 'upscaler'"):
        rlsp.upscaler  # noqa: B018
    with pytest.raises(ImportError):
        from rlsp import upscaler  # noqa: F401


def test_the_package_starts_without_what_takes_seconds():
    code = (
        "import sys, rlsp; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pandas', 'cv2')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
