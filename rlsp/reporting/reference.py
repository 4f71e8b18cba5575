"""Keeping a run's rows, tables and number-only figures as a reference under version control."""

import re
import shutil
from pathlib import Path

import pandas as pd

from rlsp.errors import DataError
from rlsp.files import read_json, write_json
from rlsp.provenance import describe_environment
from rlsp.shipped import CHECKOUT

# A wheel is no place to write to: there it is the working folder's.
REFERENCE = (CHECKOUT or Path()) / "results" / "reference"


def copy_reference(results: Path, reference: Path = REFERENCE) -> Path:
    """Copy the rows, tables and number-only figures of a finished study to ``reference/<study>/<device>/``.

    Tables as HTML are left out: a page is made from the rows.

    Pixels are left out: figures that show clips, and every picture, stay where they are.

    Parameters
    ----------
    results : Path
        Results of a study, such as ``results/demo``.
    reference : Path
        Folder of references.

    Returns
    -------
    Path
        The folder that was written; what it held before is replaced.

    Raises
    ------
    DataError
        The study is not finished.
    """
    rows, numbers, elapsed = results / "rows", results / "figures" / "numbers", results / "elapsed.csv"
    for needed in (rows / "study.json", rows / "runtime.csv", results / "tables", numbers, elapsed):
        if not needed.exists():
            raise DataError(f"{needed}: expected a finished study, there is no such file")
    devices = pd.read_csv(rows / "runtime.csv")["device"].unique()
    study = read_json(rows / "study.json")["study"]
    target = reference / study / device_folder(str(devices[0]))
    shutil.rmtree(target, ignore_errors=True)
    for name in ("rows", "tables"):
        shutil.copytree(results / name, target / name, ignore=shutil.ignore_patterns("*.html"))
    hidden = shutil.ignore_patterns(".*")  # Snakemake's time stamp
    shutil.copytree(numbers, target / "figures", ignore=hidden)
    shutil.copy(elapsed, target)
    write_json(target / "provenance.json", describe_environment(), sort_keys=True)
    return target


def device_folder(device: str) -> str:
    """Name the folder of a device's results after it."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
