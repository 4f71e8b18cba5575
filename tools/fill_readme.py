"""Fill the numbers of the README from the tables in results/reference, so that none is typed by hand."""

import re
from pathlib import Path

import pandas as pd

from rlsp.config.schema import CATALOGUE, ROOT
from rlsp.errors import DataError, one_line_errors
from rlsp.files import read_json, write_text
from rlsp.reporting.blocks import (
    authors_psnr,
    costs_block,
    precisions_block,
    rates_block,
    released_block,
    speed_block,
    study_block,
)  # fmt: skip

README = ROOT / "README.md"
REFERENCE = ROOT / "results" / "reference"


def fill_readme(text: str, reference: Path = REFERENCE) -> str:
    """Fill the marked places of the README from the reference tables.

    Places are ``<!-- begin NAME -->...<!-- end NAME -->`` (a block) and ``<!-- NAME -->...<!-- /NAME -->`` (a
    number in a line).

    Parameters
    ----------
    text : str
        The README.
    reference : Path
        Folder of reference results, ``<study>/<device>/tables``.

    Returns
    -------
    str
        The README with its numbers.

    Raises
    ------
    DataError
        A reference is missing.
    """
    demo, released, full_hd = (find_reference(reference, study) for study in ("demo", "released", "full-hd"))
    text = _fill_block(text, "released", released_block(released))
    text = _fill_block(text, "demo", study_block(demo))
    rates = reference / "training-rate"
    makers = {
        "small": lambda: study_block(find_reference(reference, "small"), authors_psnr(released)),
        "costs": lambda: costs_block(study_files(), rates),
        "rates": lambda: rates_block(rates),
        "speed": lambda: speed_block(full_hd),
        "precisions": lambda: precisions_block(released),
    }
    for name, make in makers.items():
        if f"<!-- begin {name} -->" in text:
            text = _fill_block(text, name, make())
    text = _fill_number(text, "demo-minutes", minutes(demo))
    text = _fill_number(text, "demo-device", pd.read_csv(demo / "tables" / "runtime.csv")["device"].iloc[0])
    text = _fill_number(text, "released-minutes", minutes(released))
    return _fill_number(text, "full-hd-minutes", minutes(full_hd))


def find_reference(reference: Path, study: str) -> Path:
    """Find the reference of a study: the newest, of whichever device."""
    folders = [path for path in sorted((reference / study).glob("*")) if (path / "tables").is_dir()]
    if not folders:
        raise DataError(f"{reference / study}: expected reference tables, run make reference STUDY={study}")
    return max(folders, key=lambda path: read_json(path / "provenance.json")["time"])


def minutes(folder: Path) -> str:
    """Return how long the longest run of a study took, in minutes."""
    runs = pd.read_csv(folder / "elapsed.csv")
    return f"{runs['seconds'].max() / 60:.1f}"


def study_files() -> list[Path]:
    """List the study files of the repository."""
    return [path for path in sorted((ROOT / "config").glob("*.yaml")) if path != CATALOGUE]


def _fill_block(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)


def _fill_number(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- {name} -->).*?(<!-- /{name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}{found[2]}", text)


def main() -> None:
    """Fill the README of this repository."""
    with one_line_errors():
        write_text(README, fill_readme(README.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
