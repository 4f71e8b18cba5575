"""Code of the user's own: found in the working folder as well, and told in one line where it is wrong."""

import sys

import pytest

from rlsp.errors import ConfigError
from rlsp.own_code import find_own, import_function, import_own, modules_of
from rlsp.provenance import _read_code, code_hash


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with modules; imports are forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_blur.py").write_text("def blur(frame, *, scale): return frame\nSIGMA = 1.5\n")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").write_text("")
    (tmp_path / "my_package" / "inner.py").write_text("from my_blur import blur\n")
    (tmp_path / "my_half.py").write_text("def blur(:\n")
    (tmp_path / "my_need.py").write_text("import no_such_package\n")
    _read_code.cache_clear()
    yield tmp_path
    _read_code.cache_clear()
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


@pytest.mark.parametrize("module", ["my_blur", "my_package.inner"])
def test_modules_of_the_working_folder_are_found_and_imported(folder, module):
    assert find_own(module) == folder / f"{module.replace('.', '/')}.py"
    assert import_function(f"{module}:blur", "here", ["scale"], positional=1)(3, scale=4) == 3


def test_installed_modules_come_before_those_of_the_working_folder(folder):
    (folder / "yaml.py").write_text("SIGMA = 1\n")
    assert find_own("yaml").parent != folder


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("my_blurr:blur", r"^here: cannot import my_blurr:blur \(No module named 'my_blurr'\)$"),
        (
            "my_blur:bluur",
            r"^here: cannot import my_blur:bluur \(module 'my_blur' has no attribute 'bluur'\)$",
        ),
        ("my_need:blur", r"^here: cannot import my_need:blur \(No module named 'no_such_package'\)$"),
        ("my_half:blur", r"^here: cannot import my_half:blur \(invalid syntax .my_half.py, line 1\)\)$"),
        ("my_blur:SIGMA", "^here: expected a function, got my_blur:SIGMA of type float$"),
        ("my_blur:blur", "^here: my_blur:blur: got an unexpected keyword argument 'sigma'$"),
    ],
)
def test_what_cannot_be_called_is_one_line(folder, location, message):
    with pytest.raises(ConfigError, match=message):
        import_function(location, "here", ["scale", "sigma"], positional=1)


def test_a_function_that_does_not_tell_its_arguments_is_taken(folder):
    assert import_function("math:hypot", "here", [], positional=2)(3, 4) == 5
    assert import_own("my_blur:SIGMA", "here") == 1.5


def test_modules_are_listed_once():
    assert modules_of("b.c:d", "a:e", "b.c:f") == ["a", "b.c"]


def test_code_of_the_working_folder_counts_in_hashes(folder):
    before, broken = code_hash("rlsp.evaluation.scoring", "my_blur"), code_hash("my_half")
    (folder / "my_blur.py").write_text("def blur(frame, *, scale): return frame\nSIGMA = 1.6\n")
    _read_code.cache_clear()
    assert code_hash("rlsp.evaluation.scoring", "my_blur") != before
    assert len(broken) == 12  # what is wrong with it is said when it is imported
