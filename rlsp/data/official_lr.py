"""Our bicubic LR against the LR clips that the publisher of a data set made."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from rlsp.columns import OFFICIAL_LR
from rlsp.config.datasets import clip_folder
from rlsp.data.archives import Archive, read_archive_download
from rlsp.data.clips import open_clips
from rlsp.data.degradation import degrade_bicubic
from rlsp.errors import DataError
from rlsp.files import write_rows, write_text

BOUNDARIES = ("symmetric", "replicate")


def compare_lr(
    name: str, spec: dict[str, Any], clips: Path, download: Path, table: Path, *, workers: int = 1
) -> str:
    """Compare the bicubic LR of a data set, for each boundary, with the official one.

    Parameters
    ----------
    name : str
        Name of the data set.
    spec : dict
        ``folder`` (of a clip inside the archive), ``frames`` (of a clip there) and ``scale``.
    clips : Path
        Manifest of the HR clips.
    download : Path
        Manifest of the archive of official LR clips.
    table : Path
        CSV to write, a row for each clip and boundary: largest absolute difference in grey levels, and
        the pixels that differ in any channel. Beside it goes a ``.txt`` with the verdict.
    workers : int
        Clips compared at a time.

    Returns
    -------
    str
        The verdict, one line.

    Raises
    ------
    DataError
        A clip is missing from the archive, or has another size, or less frames than ours.
    """
    opened = open_clips(clips)
    _, path = read_archive_download(download, [clip_folder(spec["folder"], clip) for clip in opened])
    compare_clip = functools.partial(_compare_clip, Archive(path), spec)
    with ThreadPoolExecutor(workers) as pool:
        rows = [row for of_clip in pool.map(compare_clip, opened, opened.values()) for row in of_clip]
    write_rows(table, OFFICIAL_LR.names, rows)
    text = verdict(name, rows)
    write_text(table.with_suffix(".txt"), text + "\n")
    return text


def _compare_clip(archive: Archive, spec: dict[str, Any], clip: str, hr: np.ndarray) -> list[dict[str, Any]]:
    """Rows of one clip; its first frames are compared when ours was cut short."""
    names = archive.pictures(clip_folder(spec["folder"], clip), spec["frames"])[: len(hr)]
    if len(names) < len(hr):
        raise DataError(f"{archive.path}: clip {clip}: expected {len(hr)} frames, got {len(names)}")
    size = [side // spec["scale"] for side in hr.shape[1:3]]
    largest, differing = dict.fromkeys(BOUNDARIES, 0), dict.fromkeys(BOUNDARIES, 0)
    for t, official in enumerate(archive.read_pictures(names, size)):
        for boundary in BOUNDARIES:
            ours = degrade_bicubic(hr[t : t + 1], scale=spec["scale"], boundary=boundary)[0]
            difference = np.abs(ours.astype(np.int16) - official).max(axis=2)
            largest[boundary] = max(largest[boundary], int(difference.max()))
            differing[boundary] += int((difference > 0).sum())
    pixels = len(hr) * size[0] * size[1]
    return [
        dict(
            zip(
                OFFICIAL_LR.names,
                (clip, boundary, len(hr), largest[boundary], differing[boundary], pixels,
                 f"{differing[boundary] / pixels:.3g}"),
                strict=True,
            )
        )
        for boundary in BOUNDARIES
    ]  # fmt: skip


def verdict(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """Say in one line which boundary, if any, the official LR clips were made with.

    Parameters
    ----------
    name : str
        Name of the data set.
    rows : sequence of dict
        Rows of the table of :func:`compare_lr`.
    """
    found = {}
    for boundary in BOUNDARIES:
        of_boundary = [row for row in rows if row["boundary"] == boundary]
        differing, pixels = (sum(row[key] for row in of_boundary) for key in ("differing_pixels", "pixels"))
        found[boundary] = (differing, max(row["max_difference"] for row in of_boundary), pixels)
    best = min(BOUNDARIES, key=found.get)
    exact = [boundary for boundary in BOUNDARIES if found[boundary][0] == 0]
    judgement = {
        0: f"neither boundary gives the official LR; {best} comes closest",
        1: f"boundary {best} gives the official LR exactly",
        2: "both boundaries give the official LR exactly: these pictures cannot tell them apart",
    }[len(exact)]
    details = "; ".join(
        f"{boundary}: {differing} of {pixels} pixels differ, by up to {largest} grey levels"
        for boundary, (differing, largest, pixels) in found.items()
    )
    return f"{name}: {judgement} ({details})"
