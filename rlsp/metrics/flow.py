"""Optical flow of ground-truth clips: estimated or exact, with what is hidden, once per data set."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from rlsp.clips import open_clips, read_json, read_manifest, replace_when_complete, write_manifest
from rlsp.color import rgb_to_y
from rlsp.errors import DataError

# Lai et al. 2018, released code, detect_occlusion: shares of the squared flow, and floors in squared pixels
CONSISTENCY_SHARE, CONSISTENCY_FLOOR = 0.01, 0.5
BOUNDARY_SHARE, BOUNDARY_FLOOR = 0.01, 0.002

# the medium preset starts at half size with patches of 8; below about 46 pixels OpenCV silently takes other
# parameters, and some sizes crash
DIS_SMALLEST = 48


class ClipFlow(NamedTuple):
    """Flow of one clip, index t - 1 for the pair of frames (t - 1, t).

    Attributes
    ----------
    backward : np.ndarray
        (T - 1, H, W, 2) float32, HR pixels, horizontal then vertical: pixel (row, column) of frame t shows
        what was at (column + backward[..., 0], row + backward[..., 1]) in frame t - 1.
    visible : np.ndarray
        (T - 1, H, W) bool: that place is inside frame t - 1 and nothing hides it.
    kind : str
        ``exact`` (known from how the clip was made) or ``dis`` (estimated on the ground truth).
    """

    backward: np.ndarray
    visible: np.ndarray
    kind: str


@contextlib.contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Let OpenCV compute in the calling thread alone: frames are spread over threads instead."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def grey(luma: np.ndarray) -> np.ndarray:
    """Turn luma into the uint8 picture that optical flow is computed on.

    Parameters
    ----------
    luma : np.ndarray
        BT.601 studio luma (black 16, white 235), any shape and real dtype.

    Returns
    -------
    np.ndarray
        uint8, black 0, white 255: the grey of ``cv2.COLOR_RGB2GRAY``, which TecoGAN's tOF takes. On rounded
        studio luma instead, tOF of the released frames is 3 % smaller.
    """
    return np.clip(np.rint((np.asarray(luma, np.float64) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


def farneback(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Optical flow from one frame to the next by Farneback's method, with TecoGAN's parameters.

    Parameters
    ----------
    previous, current : np.ndarray
        (H, W) uint8 grey.

    Returns
    -------
    np.ndarray
        (H, W, 2) float32, pixels, horizontal then vertical: what is at (column, row) in `previous` is at
        (column + flow[..., 0], row + flow[..., 1]) in `current`.

    References
    ----------
    Chu, Xie, Mayer, Leal-Taixe, Thuerey: Learning temporal coherence via self-supervision for GAN-based video
    generation. ACM Transactions on Graphics 39 (2020), https://doi.org/10.1145/3386569.3392457; the
    parameters are those of metrics.py in its released code.
    """
    return cv2.calcOpticalFlowFarneback(
        previous,
        current,
        None,
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )


def dis(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Optical flow by dense inverse search (DIS), medium preset; small frames are padded to 48 pixels.

    Parameters, result
        As for :func:`farneback`.

    References
    ----------
    Kroeger, Timofte, Dai, Van Gool: Fast optical flow using dense inverse search. ECCV 2016,
    https://doi.org/10.1007/978-3-319-46493-0_29
    """
    height, width = previous.shape
    borders = (0, max(0, DIS_SMALLEST - height), 0, max(0, DIS_SMALLEST - width))  # top, bottom, left, right
    padded = [cv2.copyMakeBorder(frame, *borders, cv2.BORDER_REPLICATE) for frame in (previous, current)]
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*padded, None)[:height, :width]


def warp(previous: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Move a frame to the next point in time along the backward flow, bilinearly.

    Parameters
    ----------
    previous : np.ndarray
        (H, W) or (H, W, C) float32, frame t - 1.
    backward : np.ndarray
        (H, W, 2) float32, see :class:`ClipFlow`.

    Returns
    -------
    np.ndarray
        Frame t as it would look if nothing but the flow happened; same shape. Places outside frame t - 1 take
        its nearest pixel.
    """
    columns, rows = _origins(backward)
    return cv2.remap(previous, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def is_inside(backward: np.ndarray) -> np.ndarray:
    """Tell where the flow points into the other frame: (H, W, 2) float32 -> (H, W) bool."""
    height, width = backward.shape[:2]
    columns, rows = _origins(backward)
    return (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)


def occlusion(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Tell which pixels of frame t have no trustworthy counterpart in frame t - 1.

    A pixel is occluded where forward and backward flow do not cancel, or where the backward flow has an edge
    (motion boundary).

    Parameters
    ----------
    forward : np.ndarray
        (H, W, 2) float32, flow of frame t - 1 to t, pixels.
    backward : np.ndarray
        (H, W, 2) float32, flow of frame t to t - 1, pixels.

    Returns
    -------
    np.ndarray
        (H, W) bool.

    References
    ----------
    Lai et al.: Learning blind video temporal consistency. ECCV 2018, https://doi.org/10.1007/978-3-030-01267-0_11;
    the test is Ruder, Dosovitskiy, Brox: Artistic style transfer for videos. GCPR 2016,
    https://doi.org/10.1007/978-3-319-45886-1_3.
    """
    forward_here = warp(forward, backward)
    backward_size = _squared_length(backward)
    gap = _squared_length(forward_here + backward)
    both_sizes = _squared_length(forward_here) + backward_size
    is_inconsistent = gap > CONSISTENCY_SHARE * both_sizes + CONSISTENCY_FLOOR
    edge = np.zeros_like(backward_size)  # one-sided differences, 0 at the last row and column
    edge[:, :-1] += _squared_length(np.diff(backward, axis=1))
    edge[:-1] += _squared_length(np.diff(backward, axis=0))
    return is_inconsistent | (edge > BOUNDARY_SHARE * backward_size + BOUNDARY_FLOOR)


def write_flow_dataset(manifest_path: Path, flow_manifest_path: Path, *, workers: int = 1) -> None:
    """Write the ground-truth flow of every clip: exact where the clip comes with it, else by DIS.

    Beside `flow_manifest_path`, per clip, two memory-mappable arrays: ``<clip>.backward.npy`` and
    ``<clip>.visible.npy``, with shapes and meaning as in :class:`ClipFlow`. Estimated flow is visible where
    it points into frame t - 1 and :func:`occlusion` does not object.

    Parameters
    ----------
    manifest_path : Path
        Manifest of the ground-truth clips.
    flow_manifest_path : Path
        Manifest to write, last: ``{"dataset", "clips": {clip: {"backward", "visible", "kind"}}}``.
    workers : int
        Threads; the numbers do not depend on it.

    Raises
    ------
    DataError
        A clip or its exact flow is missing, damaged or of another size.
    """
    manifest_path, flow_manifest_path = Path(manifest_path), Path(flow_manifest_path)
    manifest = read_manifest(manifest_path)
    entries = {}
    with one_opencv_thread(), ThreadPoolExecutor(workers) as pool:
        for name, clip in open_clips(manifest_path).items():
            entry = {"backward": f"{name}.backward.npy", "visible": f"{name}.visible.npy"}
            files = [flow_manifest_path.parent / file for file in entry.values()]
            exact = manifest["clips"][name]["flow"]
            if exact:
                _write_exact_flow(manifest_path.parent / exact, clip.shape, *files)
            else:
                _write_dis_flow(clip, *files, pool=pool)
            entries[name] = {**entry, "kind": "exact" if exact else "dis"}
    write_manifest(flow_manifest_path, {"dataset": manifest["dataset"], "clips": entries})


def open_flow(manifest_path: Path, clip: str) -> ClipFlow:
    """Open the flow of one clip as memory maps.

    Parameters
    ----------
    manifest_path : Path
        Manifest that :func:`write_flow_dataset` wrote.
    clip : str
        Name of the clip.

    Raises
    ------
    DataError
        The manifest, the clip in it, or one of its files is missing or damaged.
    """
    manifest_path = Path(manifest_path)
    folder = manifest_path.parent
    try:
        entry = read_json(manifest_path)["clips"].get(clip)
        if entry is None:
            raise DataError(f"{manifest_path}: expected the flow of clip {clip}, but there is none")
        backward, visible = (_open_array(folder / entry[key]) for key in ("backward", "visible"))
        kind = entry["kind"]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{manifest_path}: expected a manifest of flow, got: {error!r}") from None
    _check_flow(folder / entry["backward"], backward, visible, visible.shape)
    return ClipFlow(backward, visible, kind)


def _origins(backward: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Column and row in frame t - 1 of every pixel of frame t, each (H, W) float32."""
    height, width = backward.shape[:2]
    columns = np.arange(width, dtype=np.float32)[None, :] + backward[..., 0]
    rows = np.arange(height, dtype=np.float32)[:, None] + backward[..., 1]
    return columns, rows


def _squared_length(vectors: np.ndarray) -> np.ndarray:
    return np.square(vectors[..., 0]) + np.square(vectors[..., 1])


def _write_exact_flow(
    file: Path, clip_shape: tuple[int, ...], backward_file: Path, visible_file: Path
) -> None:
    """Copy the exact flow of a made clip into two memory-mappable files."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            backward, visible = arrays["backward"], arrays["visible"]
    except (OSError, ValueError, KeyError, EOFError, TypeError) as error:
        raise DataError(f"{file}: expected an .npz of backward and visible, got: {error}") from None
    frames, height, width, _ = clip_shape
    _check_flow(file, backward, visible, (frames - 1, height, width))
    for path, array in ((backward_file, backward), (visible_file, visible)):
        with replace_when_complete(path) as temporary, open(temporary, "wb") as output:
            np.save(output, array)


def _write_dis_flow(
    clip: np.ndarray, backward_file: Path, visible_file: Path, *, pool: ThreadPoolExecutor
) -> None:
    pairs, height, width = clip.shape[0] - 1, *clip.shape[1:3]
    with replace_when_complete(backward_file) as part, replace_when_complete(visible_file) as visible_part:
        backward = np.lib.format.open_memmap(part, "w+", np.float32, (pairs, height, width, 2))
        visible = np.lib.format.open_memmap(visible_part, "w+", bool, (pairs, height, width))

        def write_pair(index: int) -> None:
            previous, current = (grey(rgb_to_y(frame)) for frame in clip[index : index + 2])
            backward[index] = dis(current, previous)
            visible[index] = is_inside(backward[index]) & ~occlusion(dis(previous, current), backward[index])

        for _ in pool.map(write_pair, range(pairs)):
            pass
        backward.flush()
        visible.flush()


def _open_array(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: expected a complete .npy file, got: {error}") from None


def _check_flow(file: Path, backward: np.ndarray, visible: np.ndarray, expected: tuple[int, ...]) -> None:
    """Refuse flow that is not float32 `expected` + (2,) with a bool mask of shape `expected`."""
    got = f"{backward.dtype} {backward.shape} and {visible.dtype} {visible.shape}"
    is_right_type = backward.dtype == np.float32 and visible.dtype == bool
    if not is_right_type or backward.shape != (*expected, 2) or visible.shape != expected:
        raise DataError(f"{file}: expected float32 {(*expected, 2)} and bool {expected}, got {got}")
