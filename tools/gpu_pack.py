"""Make a folder that runs on a bare GPU machine: the sources, some clips, a few wheels, no weights.

``python tools/gpu.py --study config/gpu-session.yaml --study clips.yaml`` then runs there; without clips of one's own
leave the second study out: the training clips are made from photographs inside scikit-image.
"""

import argparse
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from rlsp.data.clips import read_frames
from rlsp.data.images import write_png
from rlsp.errors import DataError, DownloadError, one_line_errors
from rlsp.shipped import ROOT

SOURCES = (
    "rlsp",
    "config",
    "workflow",
    "tests",
    "tools",
    "profiles",
    "Makefile",
    "pyproject.toml",
    "README.md",
)
# What reads studies, with what that needs, what reads a GPU's clocks, and SOAP; everything else is on a machine that
# people train on.
WHEELS = (
    "pydantic", "pydantic-core", "annotated-types", "typing-inspection", "typing-extensions", "nvidia-ml-py",
    "pytorch-optimizer",
)  # fmt: skip
PYTHONS = ("3.11", "3.12", "3.13", "3.14")  # over there
MEGABYTE = 10**6
STUDY = """# Trains on the packed clips.
datasets: {packed-clips: {source: folder, path: clips}}
runs:
  - {models: [frames-only, plus-adjacent, plus-feedback, rlsp-7-48], recipe: gpu, train_set: packed-clips,
     degradations: [gaussian]}
"""


def copy_sources(target: Path) -> None:
    """Copy the files of the package that are under version control, as they are now."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    listed = subprocess.run([*command, *SOURCES], check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def copy_clips(sources: list[Path], target: Path, *, frames: int, side: int) -> None:
    """Write the first frames of clips as PNG pictures, of which the middle is kept.

    Parameters
    ----------
    sources : list of Path
        Videos, or folders of PNG pictures.
    target : Path
        Receives a folder for each clip.
    frames : int
        Frames of a clip, at most.
    side : int
        Height and width in pixels, at most.

    Raises
    ------
    DataError
        Two clips have one name.
    """
    for source in sources:
        folder = target / source.stem.lower().replace("_", "-")
        if folder.exists():
            raise DataError(f"{source}: expected clips of different names, {folder.name} is there already")
        for number, frame in enumerate(islice(read_frames(source), frames)):
            write_png(folder / f"{number:08d}.png", middle(frame, side))


def middle(frame: np.ndarray, side: int) -> np.ndarray:
    """Cut the middle out of a frame (H, W, 3): at most `side` rows and columns, a multiple of 8 of each."""
    window = []
    for length in frame.shape[:2]:
        kept = min(length, side) // 8 * 8
        window.append(slice((length - kept) // 2, (length + kept) // 2))
    return np.ascontiguousarray(frame[tuple(window)])


def download_wheels(target: Path) -> None:
    """Download the wheels for Linux on x86-64 and all versions of Python, of the versions that are pinned."""
    platforms = [option for tag in ("2_17", "2_28") for option in ("--platform", f"manylinux_{tag}_x86_64")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    options = ["--platform", "manylinux2014_x86_64", "-c", str(ROOT / "constraints.txt"), "-d", str(target)]
    for python in PYTHONS:
        versioned = [*command, *platforms, *options, "--python-version", python, *WHEELS]
        done = subprocess.run(versioned, capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip()).split("\n")[-1]
            raise DownloadError(f"wheels for Python {python}: {reason}; leave them out with --no-wheels")


def check_size(target: Path, limit: float) -> float:
    """Return the size of the folder in megabytes (10^6 bytes).

    Raises
    ------
    DataError
        It is above the limit.
    """
    sizes = {path: path.stat().st_size for path in target.rglob("*") if path.is_file()}
    total = sum(sizes.values()) / MEGABYTE
    if total > limit:
        clips = (
            sum(size for path, size in sizes.items() if "clips" in path.relative_to(target).parts) / MEGABYTE
        )
        raise DataError(
            f"{target}: expected at most {limit:g} MB, got {total:.1f}, {clips:.1f} of them clips; pack fewer clips, "
            "or lower --frames or --side"
        )
    return total


def make_pack(args: argparse.Namespace) -> None:
    """Fill the folder."""
    copy_sources(args.target)
    if args.clips:
        copy_clips(args.clips, args.target / "clips", frames=args.frames, side=args.side)
        (args.target / "clips.yaml").write_text(STUDY)
    if not args.no_wheels:
        download_wheels(args.target / "wheels")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument(
        "--clips", type=Path, nargs="*", default=[], help="videos, or folders of PNG pictures"
    )
    parser.add_argument("--frames", type=int, default=24, help="of each clip (default: 24)")
    parser.add_argument(
        "--side", type=int, default=256, help="pixels of a frame that are kept (default: 256)"
    )
    parser.add_argument(
        "--no-wheels", action="store_true", help="pydantic, nvidia-ml-py and pytorch-optimizer are there"
    )
    parser.add_argument("--limit", type=float, default=60, help="MB of 10^6 bytes that the folder may take")
    args = parser.parse_args()
    with one_line_errors():
        if args.target.exists():
            raise DataError(f"{args.target}: expected a folder that is not there yet")
        try:
            make_pack(args)
            print(f"{args.target}: {check_size(args.target, args.limit):.1f} MB")
        except BaseException:
            shutil.rmtree(args.target, ignore_errors=True)
            raise


if __name__ == "__main__":
    main()
