"""Fill the numbers of the README and of docs/ from results/reference, so that none is typed by hand."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
from readme_tables import (
    authors_psnr,
    costs_block,
    precisions_block,
    rates_block,
    released_block,
    speed_block,
    study_block,
)

from rlsp.config.study_files import CATALOGUE
from rlsp.errors import DataError, one_line_errors
from rlsp.files import read_json, write_text
from rlsp.reporting.cells import Cell, Number
from rlsp.reporting.printing import markdown_lines
from rlsp.reporting.table import Table
from rlsp.shipped import ROOT

README = ROOT / "README.md"
TRAINING = ROOT / "docs" / "training.md"
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
        "small-gpu": lambda: study_block(find_reference(reference, "small-gpu"), authors_psnr(released)),
        "costs": lambda: costs_block(study_files(), rates),
        "rates": lambda: rates_block(rates),
        "speed": lambda: speed_block(full_hd),
        "precisions": lambda: precisions_block(released),
    }
    for name, make in makers.items():
        if f"<!-- begin {name} -->" in text:
            text = _fill_block(text, name, make())
    text = _fill_number(text, "demo-minutes", minutes(demo))
    text = _fill_number(text, "demo-device", pd.read_csv(demo / "rows" / "runtime.csv")["device"].iloc[0])
    text = _fill_number(text, "released-minutes", minutes(released))
    return _fill_number(text, "full-hd-minutes", minutes(full_hd))


# Tables of docs/training.md: the file below results/reference/trials/<device>, and columns with heads and decimals.
TRIALS = {
    "gpu-trials": ("trials", {
        "model": ("model", None), "optimizer": ("optimiser", None), "carry_scale": ("carries times", 2),
        "learning_rate": ("rate", 3), "batch": ("crops a step", 0), "steps": ("steps", 0),
        "training_psnr": ("training [dB]", 2), "vid4_psnr": ("Vid4, PSNR-Y, crop 8, trim 2+2, frame [dB]", 2),
    }),
    "gpu-speeds": ("speeds", {
        "model": ("model", None), "batch": ("crops a step", 0), "weight_gradients": ("weight gradients", None),
        "side_by_side": ("side by side", 0), "cudnn_benchmark": ("cuDNN tries its kernels", None),
        "steps_per_second": ("steps a second", 1), "lr_mpixels_per_second": ("10^6 LR pixels a second", 1),
    }),
    "trials": ("trials", {
        "name": ("trial", None), "change": ("what differs", None), "psnr_training": ("last 200 steps [dB]", 2),
        "psnr_fixed": ("fixed crops [dB]", 2), "psnr_held": ("held-out videos [dB]", 2),
        "psnr_moves": ("held-out moves [dB]", 2), "seconds": ("CPU s", 0),
    }),
    "three-seeds": ("narrow", {
        "name": ("trial", None), "seed": ("seed", 0), "psnr_training": ("last 200 steps [dB]", 2),
        "psnr_fixed": ("fixed crops [dB]", 2), "psnr_held": ("held-out videos [dB]", 2),
        "psnr_moves": ("held-out moves [dB]", 2),
    }),
    "from-released": ("from_released", {
        "optimizer": ("optimiser", None), "learning_rate": ("rate", 4), "carry_scale": ("carries times", 2),
        "first": ("training, steps 1 to 20 [dB]", 2), "last": ("steps 181 to 200 [dB]", 2),
        "vid4_psnr": ("Vid4 then, PSNR-Y, crop 8, trim 2+2, frame [dB]", 2),
    }),
}  # fmt: skip
TRIAL_DEVICES = dict.fromkeys(("gpu-trials", "gpu-speeds", "three-seeds"), "nvidia-h100-80gb-hbm3")
OTHER_DEVICE = "intel-xeon-processor-emerald-rapids-avx-512-bf16-2-logical-cores"


def fill_training(text: str, reference: Path = REFERENCE) -> str:
    """Fill the tables of docs/training.md from the kept trials."""
    for name, (file, columns) in TRIALS.items():
        path = reference / "trials" / TRIAL_DEVICES.get(name, OTHER_DEVICE) / f"{file}.csv"
        link = Path("..") / path.relative_to(reference.parents[1])
        text = _fill_block(text, name, f"{_trial_table(path, columns)}\n\nFrom [{path.name}]({link}).")
    return text


def _trial_table(path: Path, columns: dict[str, tuple[str, int | None]]) -> str:
    """Print some columns of a CSV file as Markdown."""
    rows = [
        [_cell(row[column], decimals) for column, (_, decimals) in columns.items()]
        for _, row in pd.read_csv(path).iterrows()
    ]
    return markdown_lines(Table.of_cells([head for head, _ in columns.values()], rows))


def _cell(value: Any, decimals: int | None) -> Cell:
    """Return a number with its decimals, or the text of what is none."""
    if decimals is not None:
        return Number(value, decimals)
    return {"True": "yes", "False": "no"}.get(str(value), str(value))


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
    """Fill the README of this repository, and its page on training."""
    with one_line_errors():
        write_text(README, fill_readme(README.read_text(encoding="utf-8")))
        write_text(TRAINING, fill_training(TRAINING.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
