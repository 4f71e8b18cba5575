"""Keeping a run's tables and number-only figures as a reference under version control."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd

from rlsp.errors import DataError
from rlsp.files import write_json
from rlsp.provenance import describe_environment
from rlsp.shipped import CHECKOUT

# A wheel is no place to write to: there it is the working folder's.
REFERENCE = (CHECKOUT or Path()) / "results" / "reference"


def copy_reference(results: Path, reference: Path = REFERENCE) -> Path:
    """Copy the tables and number-only figures of a finished study to ``reference/<study>/<device>/``.

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
    tables, numbers, elapsed = results / "tables", results / "figures" / "numbers", results / "elapsed.csv"
    for needed in (tables / "study.json", tables / "runtime.csv", numbers, elapsed):
        if not needed.exists():
            raise DataError(f"{needed}: expected a finished study, there is no such file")
    devices = pd.read_csv(tables / "runtime.csv")["device"].unique()
    study = json.loads((tables / "study.json").read_text())["study"]
    target = reference / study / device_folder(str(devices[0]))
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(tables, target / "tables")
    hidden = shutil.ignore_patterns(".*")  # Snakemake's time stamp
    shutil.copytree(numbers, target / "figures", ignore=hidden)
    shutil.copy(elapsed, target)
    write_json(target / "provenance.json", describe_environment(), sort_keys=True)
    return target


def device_folder(device: str) -> str:
    """Name the folder of a device's results after it."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
