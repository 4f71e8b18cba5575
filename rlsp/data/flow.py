"""Optical flow of data sets on disk."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rlsp.color import rgb_to_y
from rlsp.data.clips import open_clips, read_manifest
from rlsp.errors import DataError
from rlsp.files import allocate, read_json, replace_when_complete, write_json
from rlsp.metrics.flow import ClipFlow, dis, grey, is_inside, occlusion, one_opencv_thread


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
    write_json(flow_manifest_path, {"dataset": manifest["dataset"], "clips": entries})


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
        for path in (part, visible_part):
            allocate(path, path.stat().st_size)

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
