"""Whether our pictures are the released ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rlsp.columns import EXACTNESS
from rlsp.data.clips import read_restored
from rlsp.data.images import read_png
from rlsp.errors import DataError
from rlsp.files import write_rows


def check_exactness(
    restored_manifest: Path,
    released_manifest: Path,
    report_path: Path,
    *,
    max_difference: int = 1,
    max_share: float = 1e-4,
    full_frames: Mapping[str, int] | None = None,
) -> None:
    """Compare the luma pictures that converted weights make with those that the authors released.

    The last frame of a clip cut short has no right neighbour, while the authors' had one; it is left out.

    Parameters
    ----------
    restored_manifest, released_manifest : Path
        Manifests of restored frames, with 8-bit ``y`` pictures of the same clips.
    report_path : Path
        CSV to write: clip, frame, max_difference (grey levels), differing_pixels, pixels. It is there also
        when the check fails.
    max_difference : int
        Largest difference allowed, in grey levels.
    max_share : float
        Largest share of differing pixels allowed in a clip.
    full_frames : mapping, optional
        Number of frames of each uncut clip. A clip is taken as cut when it has fewer frames than this, or
        than the other manifest has.

    Raises
    ------
    DataError
        A frame or a clip differs by more, or the manifests do not hold comparable pictures.
    """
    rows = []
    pairs = _pair_frames(Path(restored_manifest), Path(released_manifest), full_frames or {})
    for clip, frame, restored_path, released_path in pairs:
        restored, released = read_png(restored_path), read_png(released_path)
        if restored.shape != released.shape:
            raise DataError(f"{restored_path}: expected shape {released.shape}, got {restored.shape}")
        difference = np.abs(restored.astype(np.int16) - released)
        rows.append((clip, frame, int(difference.max()), int((difference > 0).sum()), difference.size))
    write_rows(
        Path(report_path), EXACTNESS.names, (dict(zip(EXACTNESS.names, row, strict=True)) for row in rows)
    )
    for clip in dict.fromkeys(row[0] for row in rows):
        of_clip = [row for row in rows if row[0] == clip]
        _, frame, largest, differing, pixels = max(of_clip, key=lambda row: row[2:4])
        share = sum(row[3] for row in of_clip) / sum(row[4] for row in of_clip)
        if largest > max_difference or share > max_share:
            raise DataError(
                f"{report_path}: clip {clip}: expected at most {max_difference} grey level(s) off the "
                f"released frames, in at most {max_share:g} of the pixels, got {largest} in frame {frame} "
                f"({differing} of {pixels} pixels differ) and {share:.2g} in the clip"
            )


def _pair_frames(
    restored_path: Path, released_path: Path, full_frames: Mapping[str, int]
) -> list[tuple[str, int, Path, Path]]:
    """Clip, frame number and both files of every frame to compare."""
    restored, released = _read_luma_paths(restored_path), _read_luma_paths(released_path)
    if sorted(restored) != sorted(released):
        raise DataError(f"{restored_path}: expected the clips {sorted(released)}, got {sorted(restored)}")
    pairs = []
    for clip in restored:
        ours, theirs = restored[clip], released[clip]
        n = min(len(ours), len(theirs))
        is_cut = n < max(len(ours), len(theirs), full_frames.get(clip, 0))
        count = n - 1 if is_cut else n
        if count < 1:
            raise DataError(
                f"{restored_path}: clip {clip}: expected at least 2 frames of a cut clip, got {n}"
            )
        pairs += [(clip, t, ours[t], theirs[t]) for t in range(count)]
    return pairs


def _read_luma_paths(manifest_path: Path) -> dict[str, list[Path]]:
    """Luma pictures of each clip of a manifest of restored frames."""
    clips = read_restored(manifest_path)["clips"]
    paths = {clip: entry.get("y") for clip, entry in clips.items()}
    for clip, files in paths.items():
        if not files:
            raise DataError(f"{manifest_path}: clip {clip}: expected luma pictures, got none")
    return {clip: [manifest_path.parent / file for file in files] for clip, files in paths.items()}
