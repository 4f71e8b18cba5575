"""Arguments of the command line; imports nothing that takes time, so that help is there at once."""

import argparse
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from rlsp.config.constants import FRAME_SIZES, PRECISIONS
from rlsp.shipped import ROOT

OWN_RATES = Path("results") / "training-rate"


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, but not that of an option which then takes the study's value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def positive(text: str) -> int:
    """Read a whole number from 1 to a million from the command line."""
    return int(_bounded(int(text), 1, 10**6, text))


def threads(text: str) -> int:
    """Read a number of threads."""
    return int(_bounded(int(text), 1, 1024, text))


def quality(text: str) -> float:
    """Read a constant rate factor of H.264."""
    return float(_bounded(float(text), 0, 51, text))


def frame_rate(text: str) -> Fraction:
    """Read frames per second: 25, 23.976 or 30000/1001."""
    try:
        return Fraction(_bounded(Fraction(text), Fraction(1, 1000), 1000, text))
    except ZeroDivisionError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text}") from None


def _bounded(number: Any, lowest: Any, highest: Any, text: str) -> Any:
    if not lowest <= number <= highest:  # nan is not
        raise argparse.ArgumentTypeError(f"expected a number from {lowest} to {highest}, got {text[:40]}")
    return number


def seconds(text: str) -> float:
    """Read a time from the command line: a finite number of seconds, at most eleven days."""
    number = float(text)
    if not 0 <= number <= 10**6:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to {10**6}, got {text}")
    return number


def frame_size(text: str) -> str | tuple[int, int]:
    """Parse the name of a frame size, or HxW in LR pixels.

    Raises
    ------
    argparse.ArgumentTypeError
        It is neither.
    """
    if text in FRAME_SIZES:
        return text
    found = re.fullmatch(r"(\d{1,8})x(\d{1,8})", text)
    if not found or not all(8 <= int(size) <= 2**14 for size in found.groups()):
        raise argparse.ArgumentTypeError(
            f"expected {', '.join(FRAME_SIZES)} or HxW of 8 to 16384 pixels, got {text[:40]!r}"
        )
    return int(found[1]), int(found[2])


def argument(*names: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Keep an argument of a command for the parser, as argparse takes it."""
    return names, options


STUDY = argument(
    "--study", type=Path, action="append", metavar="FILE",
    help="study file (default: config/demo.yaml); a second one changes the first",
)  # fmt: skip
RUN = argument("run", help="id of a run, such as rlsp-3-32.gaussian.s0")
DEVICE = argument("--device", choices=["auto", "cpu", "cuda"], help="device (default: the study's)")
ARGUMENTS = {
    "fetch": (
        STUDY,
        argument("download", nargs="*", help="names of downloads (default: all that the study needs)"),
    ),
    "where": (
        STUDY, RUN,
        argument("dataset", nargs="?", help="one of the run's test sets (default: all of them)"),
    ),
    "lr": (
        STUDY,
        argument("dataset", help="one of the study's test sets"),
        argument("folder", type=Path, help="gets a sub-folder of PNG pictures for each clip"),
        argument("--degradation", help="how the frames are made (default: the only one of the study's runs)"),
    ),
    "train": (STUDY, DEVICE, RUN),
    "rate": (
        STUDY, DEVICE,
        argument("run", nargs="*", help="ids of runs (default: one of each model and recipe)"),
        argument("--seconds", type=seconds, default=2, help="time of each loop in a round, three steps at least"),
        argument("--rounds", type=positive, default=5, help="rounds, in which the loops take turns"),
        argument("--output", type=Path, help=f"CSV file (default: {OWN_RATES}/<device>/training_rate.csv)"),
    ),
    "time": (
        STUDY, DEVICE,
        argument("--models", nargs="+", metavar="MODEL", help="of the study's (default: all)"),
        argument(
            "--sizes", nargs="+", type=frame_size, metavar="SIZE",
            help=f"frames: {', '.join(FRAME_SIZES)}, or HxW of the LR frame in pixels (default: the study's)",
        ),
        argument(
            "--grid", action="store_true", default=None,
            help="every precision, mode, boundary, batch and size (default: the headline's)",
        ),
        argument("--repeats", type=positive, help="most samples of each case (default: the study's)"),
        argument("--seconds", type=seconds, help="most time for the samples of a case (default: the study's)"),
        argument("--warmup", type=positive, help="least frames before the first sample (default: the study's)"),
        argument("--threads", type=threads, help="CPU threads (default: the study's)"),
        argument(
            "--output", type=Path,
            help="CSV file, times in ms per output frame; the cases go to <name>-cases.csv",
        ),
    ),
    "figures": (
        argument(
            "--results", "--tables", type=Path, required=True, metavar="FOLDER",
            help="such as results/demo, or its folder of tables",
        ),
        argument("--output", type=Path, help="folder for the figures (default: figures/numbers in it)"),
    ),
    "estimate": (
        STUDY,
        argument(
            "--rates", type=Path, nargs="*", default=[OWN_RATES, ROOT / "results/reference/training-rate"],
            help="folders of measured rates, <device>/training_rate.csv",
        ),
        argument("--output", type=Path, help="folder for costs.md, costs_training.csv, costs_disk.csv"),
    ),
    "compare": (
        argument("a", type=Path, help="a folder of results, such as results/demo"),
        argument("b", type=Path, help="another one"),
    ),
    "reference": (argument("results", type=Path, help="such as results/demo"),),
    "upscale": (
        DEVICE,
        argument("source", type=Path, help="video file, or folder of PNG pictures"),
        argument("target", type=Path, help="video file (.mp4 .m4v .mov .mkv), or folder for PNG pictures"),
        argument("--weights", required=True, help="released:7-48, released:7-64, or a .safetensors file"),
        argument(
            "--precision", choices=["auto", *PRECISIONS], default="auto",
            help="of the network; auto is bf16 where the device has it, else fp32",
        ),
        argument("--threads", type=threads, help="CPU threads (default: all cores)"),
        argument("--data-root", type=Path, default=Path("data"), help="folder for downloads"),
        argument("--crf", type=quality, default=16, help="quality of the video; lower is better"),
        argument(
            "--frame-rate", type=frame_rate, default=Fraction(25),
            help="frames per second of a video made from pictures",
        ),
        argument(
            "--no-find-cuts", dest="find_cuts", action="store_false",
            help="carry the state over scene cuts, instead of restoring each scene by itself",
        ),
        argument("--keep-going", action="store_true", help="exit with 0 also where the video is damaged"),
    ),
    "convert": (
        STUDY,
        argument(
            "source", type=Path,
            help="state dict of PyTorch (.pth, .pt), plain safetensors, or prefix of a TensorFlow checkpoint",
        ),
        argument("target", type=Path, help=".safetensors file"),
        argument("--model", required=True, help="what it holds: one of the study's models, such as rlsp-7-128-rgb"),
        argument(
            "--degradation", required=True, help="what it expects as input: one of the study's, such as gaussian"
        ),
        argument(
            "--input-range", type=float, metavar="NUMBER",
            help="pictures are scaled from 0..255 to 0..this before the network (default: the model's)",
        ),
        argument("--licence", metavar="TEXT", help="of the weights, which they then name"),
    ),
    "diagnose": (
        argument("sr", type=Path, help="restored clip: video file, or folder of PNG pictures"),
        argument("hr", type=Path, help="ground truth, likewise"),
        argument("--scale", type=positive, default=4, help="up-scaling factor"),
        argument("--frames", type=positive, default=100, help="look at the first frames only"),
    ),
    "init": (argument("folder", type=Path, help="where Snakefile, study.yaml and profiles go"),),
    "keys": (argument("--schema", action="store_true", help="the JSON schema of study files, for editors"),),
}  # fmt: skip
