"""What an addition costs: patches that add one, applied to a copy, their files counted, and what they add run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlsp.shipped import ROOT

pytestmark = pytest.mark.slow
PATCHES = Path(__file__).parent
LEDGER = """
import sys
from pathlib import Path
from rlsp.reporting.analyses import claims
from rlsp.reporting.results import Results
(folder,) = map(Path, sys.argv[1:])
results = Results(folder)
print(*results.of(claims.summarise)["claim"], sep="\\n")
"""


@pytest.fixture
def copy(tmp_path):
    for name in ("rlsp", "tests", "config", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def apply(patch, folder):
    """Apply a patch; returns the files that it touches."""
    text = (PATCHES / patch).read_text()
    command = ["git", "apply", "--whitespace=nowarn", str(PATCHES / patch)]
    subprocess.run(
        command, cwd=folder, check=True, env={**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    )
    return re.findall(r"^\+\+\+ b/(.+)$", text, flags=re.MULTILINE)


def run(folder, *command):
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(("addition", "price"), [("metric", 3), ("analysis", 3)])
def test_what_is_added_is_scored_printed_and_tested(copy, addition, price):
    files = apply(f"{addition}.patch", copy)
    assert len(files) == len(set(files)) == price
    (test,) = (file for file in files if file.startswith("tests/"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    printed = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", test)
    assert re.search(r"^\d passed", printed, flags=re.MULTILINE)


def test_a_claim_is_a_row(copy):
    assert apply("claim.patch", copy) == ["rlsp/reporting/claims/claims.yaml"]
    (folder,) = (ROOT / "results" / "reference" / "full-hd").glob("*/")
    assert "PSNR of FRVSR 3-64" in run(copy, "-c", LEDGER, str(folder)).split("\n")
