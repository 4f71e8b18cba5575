"""The package as installed from a wheel, in a new environment that does not see the checkout, in an empty folder."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from loopback import serving
from made_checkpoints import made_arrays, write_checkpoint
from snakemake_runs import new_folder

import rlsp
from rlsp.data.images import read_png, write_png
from rlsp.shipped import ROOT
from rlsp.starting import TEMPLATE

pytestmark = pytest.mark.workflow
BUILT_FROM = (
    "rlsp",
    "workflow",
    "config",
    "notebooks",
    "profiles",
    "envs",
    "results/reference/training-rate",
    "tests",
)
LIST_JOBS = str(ROOT / "tests" / "list_jobs.py")
CHECKPOINT = "evaluate/checkpoints/ckpt_rlsp_64"


class Environment:
    """A virtual environment with the wheel in it; the packages of the parent are there too, its checkout is not."""

    def __init__(self, folder, wheel):
        # without pip, which would take 3 s; what installing a wheel does is to unpack it
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        scheme = {"base": str(folder), "platbase": str(folder)}
        self.packages = Path(sysconfig.get_path("purelib", vars=scheme))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.packages)
        # Python does not look for further .pth files in a folder that is named like this
        (self.packages / "parent.pth").write_text(sysconfig.get_path("purelib"))

    def run(self, folder, *arguments, check=True, **changes):
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [self.python, *arguments], cwd=folder, env=environment | changes, capture_output=True, text=True
        )
        if check:
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built from a copy as setuptools leaves folders behind."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    hidden = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in BUILT_FROM:
        shutil.copytree(ROOT / name, copy / name, ignore=hidden)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "-w", built, copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = built.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("venv") / "new", wheel)


@pytest.fixture(scope="module")
def started(installed, tmp_path_factory):
    """A folder that `rlsp init` has made."""
    folder = tmp_path_factory.mktemp("work")
    printed = installed.run(folder, "-m", "rlsp", "init", "mine").stdout
    assert printed.endswith("next:\n  cd mine\n  snakemake -n\n  snakemake --cores all\n")
    return folder / "mine"


def test_the_wheel_holds_what_the_repository_ships_and_no_more(wheel):
    """Workflow, catalogue, studies, notebooks, profiles, measured rates; no tests, no tools, no other results."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"rlsp"}
    tracked = ("workflow", "config", "profiles", "notebooks", "results/reference/training-rate")
    shipped = {"envs/rlsp.yaml"}
    for folder in tracked:
        shipped |= {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}
    shipped = {name for name in shipped if "__pycache__" not in name and ".ipynb_checkpoints" not in name}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "rlsp").rglob("*") if path.is_file()}
    package = {name for name in package if "__pycache__" not in name}
    assert names == package | {f"rlsp/share/{name}" for name in shipped}
    assert wheel.stat().st_size < 10**6


def test_the_new_environment_has_the_wheel_and_not_the_checkout(installed, tmp_path):
    code = (
        "import rlsp, sys; from rlsp.provenance import commit; from rlsp.shipped import ROOT;"
        "print(rlsp.__file__, ROOT, commit(), *sys.path, sep='\\n')"
    )
    file, root, commit, *path = installed.run(tmp_path, "-c", code).stdout.splitlines()
    assert Path(file) == installed.packages / "rlsp" / "__init__.py"
    assert Path(root) == installed.packages / "rlsp" / "share"
    # the parent's environment may lie in the checkout, which is on the path all the same only by its own name
    assert commit == f"wheel {rlsp.__version__}"
    assert ROOT not in {Path(folder).resolve() for folder in path if folder}
    assert installed.run(tmp_path, "-m", "rlsp", "--version").stdout == f"rlsp {rlsp.__version__}\n"


def test_a_started_folder_plans_what_a_clone_plans(installed, started, tmp_path):
    """The study names a model that the catalogue has too, and its own is taken."""
    printed = installed.run(started, "-m", "snakemake", "--dry-run").stdout
    assert all(f"rule {name}:" in printed for name in ("train", "restore", "score", "time", "report"))
    found = json.loads(installed.run(started, LIST_JOBS, "Snakefile").stdout)
    assert "'layers': 7" not in "".join(found["params"]["train.spec"])
    clone = new_folder(tmp_path / "clone", TEMPLATE)
    shutil.copy(TEMPLATE, clone / "study.yaml")  # as it is: the order of keys is part of the params
    command = [sys.executable, LIST_JOBS, "Snakefile", "study.yaml"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert found == json.loads(done.stdout), done.stderr


def test_keys_and_estimates_are_printed(installed, started):
    _, first, tables = (ROOT / "config" / "README.md").read_text().partition("### Study\n")
    assert installed.run(started, "-m", "rlsp", "keys").stdout.strip() == (first + tables).strip()
    printed = installed.run(started, "-m", "rlsp", "estimate", "--study", "study.yaml").stdout
    assert "| rlsp-3-32 | demo | 1 | 1,500 |" in printed
    study = str(ROOT / "config" / "small-gpu.yaml")
    printed = installed.run(started, "-m", "rlsp", "estimate", "--study", study)
    assert "H100" in printed.stdout  # hours by the measured rates that come along


def test_pictures_are_upscaled_with_downloaded_weights(installed, tmp_path):
    """The files of the authors are made ones here, and the list of their checksums is changed accordingly."""
    source = ROOT / "docs" / "crops.png"
    (tmp_path / "in").mkdir()
    for index in range(2):
        write_png(tmp_path / "in" / f"{index}.png", read_png(source)[index : index + 16, :24])
    command = ["-m", "rlsp", "upscale", "in", "out", "--weights", "released:7-64", "--device", "cpu"]
    manifest = installed.packages / "rlsp" / "config" / "manifests" / "rlsp_released.csv"
    with manifest.open() as file:
        rows = [row for row in csv.DictReader(file) if row["path"].startswith(CHECKPOINT)]
    weights = {name: array for name, array in made_arrays(7, 64).items() if "Adam" not in name}
    write_checkpoint(tmp_path / Path(CHECKPOINT).name, weights)
    contents = {}
    for row in rows:
        content = (tmp_path / Path(row["path"]).name).read_bytes() if "meta" not in row["path"] else b"graph"
        row.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        contents[f"{row['repository']}/{row['commit']}/{row['path']}"] = content
    with serving(contents) as server:
        mirror = {"RLSP_MIRROR": server.url("")}
        refused = installed.run(tmp_path, *command, check=False, **mirror)
        assert refused.returncode == 1 and "ckpt_rlsp_64" in refused.stderr.splitlines()[-1]
        with manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        installed.run(tmp_path, *command, **mirror)
    assert [read_png(path).shape for path in sorted((tmp_path / "out").iterdir())] == [(64, 96, 3)] * 2
