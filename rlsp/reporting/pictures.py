"""Figures that show pixels: temporal profiles, and crops of one frame side by side.

They carry the licence of the clips they show. Pictures of clips or restored frames that may not be passed on
(Vid4, the released RLSP frames) belong into ``results/``, never into the repository.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rlsp.color import luma_of, rgb_to_y
from rlsp.data.clips import open_clips, read_restored
from rlsp.data.images import as_rgb, read_png
from rlsp.errors import ConfigError, DataError
from rlsp.metrics.fidelity import psnr_from_mse
from rlsp.metrics.temporal import temporal_profile
from rlsp.reporting.style import PAGE_WIDTH, grid_shape, new_figure, save_figure, styled, wrapped

REGION = 64  # pixels of the HR frame, height and width of an automatic region
PROFILE_WIDTH = 240  # pixels of the HR frame, width of an automatic profile
BORDER = 8  # pixels at the borders that an automatic region avoids: many methods fail there
PATCHES_PER_ROW = 4


def draw_gallery(
    entries: Sequence[Mapping[str, Any]],
    figures_dir: Path | str,
    *,
    clips: Sequence[Path | str],
    lr: Sequence[Path | str],
    restored: Iterable[Path | str],
) -> list[Path]:
    """Write the profiles and crops of several data sets and degradations.

    Parameters
    ----------
    entries : sequence of mappings
        Each with ``name`` and ``runs``, as :func:`rlsp.reporting.gallery.gallery_entries` gives them; optionally
        ``clip``, ``frame``, ``row`` and ``region`` as in `draw_pictures`.
    figures_dir : path
        Where the figures go.
    clips, lr : sequence of paths
        Manifests of the HR and the LR clips of each entry.
    restored : iterable of paths
        Manifests of the runs of each entry, one entry after the other.
    """
    written, waiting = [], iter(restored)
    for entry, hr_manifest, lr_manifest in zip(entries, clips, lr, strict=True):
        choice = {key: entry.get(key) for key in ("clip", "frame", "row", "region")}
        shown = {name: next(waiting) for name in entry["runs"]}
        written += draw_pictures(hr_manifest, lr_manifest, shown, figures_dir, entry["name"], **choice)
    return written


def draw_pictures(
    clips_manifest: Path | str,
    lr_manifest: Path | str,
    restored: Mapping[str, Path | str],
    figures_dir: Path | str,
    name: str,
    *,
    clip: str | None = None,
    frame: int | None = None,
    row: int | None = None,
    region: tuple[int, int, int, int] | None = None,
) -> list[Path]:
    """Write ``profiles_<name>`` and ``crops_<name>`` (PDF and PNG) of one clip.

    Parameters are those of `plot_profiles` and `plot_crops`.

    Returns
    -------
    list of Path
        The four files.
    """
    profiles = plot_profiles(clips_manifest, restored, clip=clip, row=row)
    crops = plot_crops(clips_manifest, lr_manifest, restored, clip=clip, frame=frame, region=region)
    folder = Path(figures_dir)
    return save_figure(profiles, folder / f"profiles_{name}") + save_figure(crops, folder / f"crops_{name}")


# ---- restored frames ---------------------------------------------------------------------------


def read_pictures_of(path: Path | str, clip: str) -> dict[str, list[Path]]:
    """Return the picture files of a restored clip, keys ``rgb`` and ``y``, where it has them.

    Raises
    ------
    DataError
        When the manifest is missing or broken, or has no such clip.
    """
    path = Path(path)
    clips = read_restored(path)["clips"]
    files = {kind: clips.get(clip, {}).get(kind) for kind in ("rgb", "y")}
    if not any(files.values()):
        raise DataError(f"{path}: expected frames of clip {clip!r}, got clips {', '.join(sorted(clips))}")
    return {kind: [path.parent / name for name in names] for kind, names in files.items() if names}


def read_frame(files: dict[str, list[Path]], frame: int, kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Read one restored picture, of the other kind where `kind` (``rgb`` or ``y``) is not there.

    Returns
    -------
    ndarray
        (H, W, 3) or (H, W), uint8.

    Raises
    ------
    DataError
        When there is no such frame, or its size is not `shape`, the (height, width) of the ground truth.
    """
    names = files.get(kind) or next(iter(files.values()))
    if frame >= len(names):
        raise DataError(f"{names[0].parent}: expected frame {frame}, got {len(names)} frames")
    picture = read_png(names[frame])
    if picture.shape[:2] != shape:
        height, width = picture.shape[:2]
        raise DataError(f"{names[frame]}: expected {shape[1]}x{shape[0]}, got {width}x{height}")
    return picture


def common_length(n_frames: int, files: Iterable[dict[str, list[Path]]]) -> int:
    """Return the number of frames that the ground truth and every method have."""
    return min([n_frames, *[len(names) for kinds in files for names in kinds.values()]])


def choose_clip(clips: Mapping[str, Any], clip: str | None) -> str:
    """Return the clip asked for, by default the first."""
    if clip is None:
        return next(iter(clips))
    if clip not in clips:
        raise ConfigError(f"clip: expected one of {', '.join(clips)}, got {clip!r}")
    return clip


def check_inside(name: str, value: int, size: int) -> int:
    """Return `value`, or raise a `ConfigError` where it lies outside ``0..size - 1``."""
    if not 0 <= value < size:
        raise ConfigError(f"{name}: expected 0..{size - 1}, got {value}")
    return value


# ---- temporal profiles -------------------------------------------------------------------------


@styled
def plot_profiles(
    clips_manifest: Path | str,
    restored: Mapping[str, Path | str],
    *,
    clip: str | None = None,
    row: int | None = None,
    columns: tuple[int, int] | None = None,
) -> Figure:
    """Draw one row of pixels over time: the ground truth first, then each method.

    A clip that is steady in time gives smooth streaks; flicker shows as ragged ones.

    Parameters
    ----------
    clips_manifest : path
        Manifest of the ground truth.
    restored : mapping of str to path
        Name of each method and the manifest of its restored frames.
    clip : str, optional
        By default the first of the manifest.
    row : int, optional
        Row of the HR frame, from 0; by default the middle one.
    columns : (int, int), optional
        First column and the one after the last; by default the middle `PROFILE_WIDTH` ones.

    Raises
    ------
    ConfigError, DataError
        When the clip, row or columns do not exist, or frames are missing or of another size.
    """
    clips = open_clips(Path(clips_manifest))
    clip = choose_clip(clips, clip)
    truth = clips[clip]
    height, width = truth.shape[1:3]
    row = check_inside("row", height // 2 if row is None else row, height)
    margin = max(0, width - PROFILE_WIDTH) // 2
    first, stop = (margin, width - margin) if columns is None else columns
    if not 0 <= first < stop <= width:
        raise ConfigError(f"columns: expected first < last inside 0..{width}, got {first}, {stop}")
    methods = {label: read_pictures_of(path, clip) for label, path in restored.items()}
    n_frames = common_length(len(truth), methods.values())
    profiles = {"ground truth": temporal_profile(truth[:n_frames], row=row)[:, first:stop]}
    for label, files in methods.items():
        frames = (read_frame(files, frame, "rgb", (height, width)) for frame in range(n_frames))
        profiles[label] = temporal_profile(frames, row=row)[:, first:stop]
    return profile_figure(truth[0], profiles, row, (first, stop), clip)


def profile_figure(
    frame: np.ndarray, profiles: dict[str, np.ndarray], row: int, columns: tuple[int, int], clip: str
) -> Figure:
    """Draw the first frame with the row marked in it, and the profiles below each other beside it."""
    strip = float(
        np.clip(0.022 * len(profiles["ground truth"]), 0.4, max(0.4, min(0.9, 4.5 / len(profiles))))
    )
    figure = new_figure(PAGE_WIDTH, 0.5 + len(profiles) * (strip + 0.24))
    grid = figure.add_gridspec(len(profiles), 2, width_ratios=(1.0, 2.0))
    whole = figure.add_subplot(grid[:, 0])
    show_picture(whole, frame)
    whole.set_anchor("N")
    whole.plot([columns[0], columns[1] - 1], [row, row], color="white", linewidth=2.2)
    whole.plot([columns[0], columns[1] - 1], [row, row], color="black", linewidth=1.0, linestyle=(0, (3, 3)))
    whole.set_title(wrapped(f"{clip}, first frame", 30))
    whole.set_xlabel(f"dashed: row {row},\ncolumns {columns[0]} to {columns[1] - 1}")
    for number, (label, profile) in enumerate(profiles.items()):
        axis = figure.add_subplot(grid[number, 1])
        show_picture(axis, profile, aspect="auto")
        axis.set_title(wrapped(label, 64), loc="left", pad=2)
    axis.set_xlabel(f"column; time runs down, {len(profile)} frames")
    return figure


def show_picture(axis: Axes, picture: np.ndarray, aspect: str = "equal") -> None:
    """Show a picture's pixels as they are, without ticks."""
    axis.imshow(as_rgb(picture), interpolation="nearest", aspect=aspect)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.5)


# ---- crops -------------------------------------------------------------------------------------


@styled
def plot_crops(
    clips_manifest: Path | str,
    lr_manifest: Path | str,
    restored: Mapping[str, Path | str],
    *,
    clip: str | None = None,
    frame: int | None = None,
    region: tuple[int, int, int, int] | None = None,
) -> Figure:
    """Draw a region of one frame: LR, each method, HR, with the PSNR-Y of the region under each.

    Parameters
    ----------
    clips_manifest, lr_manifest : path
        Manifests of the ground truth and of the low-resolution input.
    restored : mapping of str to path
        Name of each method and the manifest of its restored frames; interpolation first.
    clip : str, optional
        By default the first of the manifest.
    frame : int, optional
        From 0; by default the middle one of those that all methods have.
    region : (row, column, height, width), optional
        In HR pixels; by default the square of `REGION` pixels where the first method is worst.

    Raises
    ------
    ConfigError, DataError
        When the clip, frame or region does not exist, or frames are missing or of another size.
    """
    clips = open_clips(Path(clips_manifest))
    clip = choose_clip(clips, clip)
    inputs = open_clips(Path(lr_manifest))
    if clip not in inputs:
        raise DataError(f"{lr_manifest}: expected clip {clip!r}, got {', '.join(inputs)}")
    methods = {label: read_pictures_of(path, clip) for label, path in restored.items()}
    if frame is None:
        frame = common_length(len(clips[clip]), methods.values()) // 2
    check_inside("frame", frame, len(clips[clip]))
    hr, lr = np.asarray(clips[clip][frame]), np.asarray(inputs[clip][frame])
    scale = hr.shape[0] // lr.shape[0]
    shown, luma = {}, {}
    for label, files in methods.items():
        shown[label] = read_frame(files, frame, "rgb", hr.shape[:2])
        luma[label] = luma_of(read_frame(files, frame, "y", hr.shape[:2]))
    if region is None:
        worst = next(iter(luma.values()), np.zeros(hr.shape[:2]))
        region = choose_region((worst - rgb_to_y(hr)) ** 2, scale)
    row, column, height, width = check_region(region, hr.shape[:2])
    part = np.s_[row : row + height, column : column + width]
    small = np.s_[row // scale : -(-(row + height) // scale), column // scale : -(-(column + width) // scale)]
    title = f"{clip}, frame {frame}"
    if any(picture.ndim == 2 for picture in shown.values()):  # grey beside colour would mislead
        shown = {label: np.rint(picture).astype(np.uint8) for label, picture in luma.items()}
        lr, title = np.rint(rgb_to_y(lr)).astype(np.uint8), f"{title}, luma"
    patches = [("LR", lr[small], "")]
    for label, picture in shown.items():
        psnr = psnr_from_mse(float(np.mean((luma[label][part] - rgb_to_y(hr)[part]) ** 2)))
        patches.append((label, picture[part], f"{psnr:.2f} dB"))
    truth = np.rint(rgb_to_y(hr)).astype(np.uint8) if title.endswith("luma") else hr
    patches.append(("HR", truth[part], "PSNR-Y, region"))
    return crops_figure(truth, patches, region, title)


def choose_region(error: np.ndarray, scale: int) -> tuple[int, int, int, int]:
    """Return the square with the largest summed error, the first in reading order of equal ones.

    Parameters
    ----------
    error : ndarray
        (H, W) squared error.
    scale : int
        Corners lie at multiples of it, so that no LR pixel is cut.
    """
    height, width = error.shape
    size = max(scale, min(REGION, height // 2, width // 2) // scale * scale)
    sums = np.pad(error, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    border = BORDER // scale * scale if min(height, width) >= size + 2 * BORDER else 0
    rows = np.arange(border, height - size - border + 1, scale)[:, None]
    columns = np.arange(border, width - size - border + 1, scale)[None, :]
    inside = sums[rows + size, columns + size] - sums[rows, columns + size]
    inside += sums[rows, columns] - sums[rows + size, columns]
    best = np.unravel_index(np.argmax(np.round(inside, 6)), inside.shape)
    return int(rows[best[0], 0]), int(columns[0, best[1]]), size, size


def check_region(region: tuple[int, int, int, int], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the region, or raise a `ConfigError` where it leaves the frame of (height, width) `shape`."""
    row, column, height, width = region
    ends = (row + height, column + width)
    if min(row, column) < 0 or min(height, width) < 1 or ends[0] > shape[0] or ends[1] > shape[1]:
        raise ConfigError(
            "region: expected row, column, height, width inside "
            f"{shape[0]} rows and {shape[1]} columns, got {tuple(region)}"
        )
    return region


def crops_figure(
    hr: np.ndarray,
    patches: list[tuple[str, np.ndarray, str]],
    region: tuple[int, int, int, int],
    title: str,
) -> Figure:
    """Draw the whole frame with the region marked, and the (title, picture, text below) of the patches."""
    rows, columns = grid_shape(len(patches), PATCHES_PER_ROW)
    row, column, height, width = region
    figure = new_figure(PAGE_WIDTH, 0.4 + rows * (1.18 * height / width + 0.55))
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=(1.7, *[1.0] * columns))
    whole = figure.add_subplot(grid[:, 0])
    show_picture(whole, hr)
    for color, line in (("white", 2.4), ("black", 1.0)):
        corner = (column - 0.5, row - 0.5)
        whole.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=color, linewidth=line))
    whole.set_title(wrapped(title, 26))
    whole.set_xlabel(f"region {width}x{height} at\nrow {row}, column {column}")
    for number, (label, picture, text) in enumerate(patches):
        axis = figure.add_subplot(grid[number // columns, 1 + number % columns])
        show_picture(axis, picture)
        axis.set_title(wrapped(label, 18), pad=3)
        axis.set_xlabel(text, labelpad=3)
    return figure
