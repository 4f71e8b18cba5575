"""Camera moves over photographs, those inside scikit-image or others, with the exact optical flow."""

import numpy as np

from rlsp.errors import ConfigError, TooSmallError

# cv2.remap reads its source at multiples of 1/32 px; a camera that stands on such multiples makes the
# flow of a pure pan exact
_POSITIONS_PER_PIXEL = 32
# taps of the cubic kernel beyond a sampled position, in px of the photograph
_KERNEL_REACH = 2


def seeded_generator(seed: int, photograph_name: str, clip_index: int) -> np.random.Generator:
    """Random generator of one clip, the same whatever other clips are made."""
    return np.random.default_rng(np.random.SeedSequence([seed, clip_index, *photograph_name.encode()]))


def render_move(
    photograph: np.ndarray,
    *,
    frames: int,
    size: tuple[int, int],
    supersample: int = 2,
    pan: tuple[float, float] = (1.0, 0.25),
    jitter: float = 0.12,
    zoom: float = 0.0,
    rotation: float = 0.0,
    random_direction: bool = False,
    start: tuple[float, float] | None = None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move a camera over a photograph.

    One pixel of the first frame is as large as one of the photograph. Each frame is sampled at
    `supersample` times its resolution with a cubic kernel and averaged over boxes, so that it stays
    sharp and its sub-sampling aliases.

    Parameters
    ----------
    photograph : np.ndarray
        (H, W, 3) uint8 RGB.
    frames : int
        Number of frames T.
    size : tuple of int
        Height and width of a frame, px.
    supersample : int
        Samples per pixel along each axis.
    pan : tuple of float
        Velocity of the camera, columns and rows, px per frame.
    jitter : float
        Standard deviation of the speed along each axis, px per frame.
    zoom : float
        Relative change of the field of view per frame.
    rotation : float
        Turn of the camera, degrees per frame.
    random_direction : bool
        Let `rng` choose the signs of pan, zoom and rotation.
    start : tuple of float, optional
        Column and row of the photograph at the centre of the first frame; by default `rng` chooses
        among all starts from which the camera stays inside.
    rng : np.random.Generator
        Source of everything random.

    Returns
    -------
    clip : np.ndarray
        (T, H, W, 3) uint8 RGB.
    backward : np.ndarray
        (T - 1, H, W, 2) float32, px: pixel (row, column) of frame t shows what was at
        (column + backward[t - 1, ..., 0], row + backward[t - 1, ..., 1]) in frame t - 1.
    visible : np.ndarray
        (T - 1, H, W) bool: that position lies inside frame t - 1.

    Raises
    ------
    TooSmallError
        The camera would leave the photograph wherever it starts.
    ConfigError
        It would leave the photograph from this `start`.
    """
    pan_column, pan_row, zoom_sign, turn_sign = (
        rng.choice([-1.0, 1.0], size=4) if random_direction else np.ones(4)
    )
    path = _relative_path(frames, (pan[0] * pan_column, pan[1] * pan_row), jitter, rng)
    steps = np.arange(frames)
    scales = (1.0 + zoom) ** (zoom_sign * steps)
    angles = np.deg2rad(rotation) * turn_sign * steps
    transforms = _camera_transforms(path, scales, angles, size)
    offset = _choose_start(photograph.shape[:2], transforms, size, start, rng)
    transforms[:, :, 2] += offset
    backward = exact_flow(transforms, size)
    source, transforms = _cut_to_view(photograph, transforms, size)
    clip = np.stack([_render_frame(source, transform, size, supersample) for transform in transforms])
    return clip, backward.astype(np.float32), _lands_inside(backward, size)


def _relative_path(
    frames: int, pan: tuple[float, float], jitter: float, rng: np.random.Generator
) -> np.ndarray:
    """Camera centre of each frame relative to the first: (T, 2) column and row, px."""
    moves = np.asarray(pan, dtype=np.float64) + jitter * rng.standard_normal((frames - 1, 2))
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    return np.round(path * _POSITIONS_PER_PIXEL) / _POSITIONS_PER_PIXEL


def _camera_transforms(
    path: np.ndarray, scales: np.ndarray, angles: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Similarity transforms from the pixels of each frame to the photograph.

    Returns
    -------
    np.ndarray
        (T, 2, 3) float64: photograph (column, row) = transform @ (column, row, 1).
    """
    linear = scales[:, None, None] * np.stack(
        [np.stack([np.cos(angles), -np.sin(angles)], -1), np.stack([np.sin(angles), np.cos(angles)], -1)], 1
    )
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    return np.concatenate([linear, (path - linear @ centre)[:, :, None]], axis=2)


def _choose_start(
    photograph_size: tuple[int, int],
    transforms: np.ndarray,
    size: tuple[int, int],
    start: tuple[float, float] | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Column and row of the first frame's centre, such that no frame leaves the photograph."""
    height, width = size
    reached = _reached_corners(transforms, size)
    lowest = _KERNEL_REACH - reached.min(axis=(0, 2))
    highest = np.array(photograph_size[::-1]) - 1 - _KERNEL_REACH - reached.max(axis=(0, 2))
    if np.any(lowest > highest):
        columns, rows = np.ceil(lowest - highest + np.array(photograph_size[::-1])).astype(int)
        raise TooSmallError(
            f"camera move: expected a photograph of at least {columns}x{rows} px for this path of "
            f"{len(transforms)} frames of {width}x{height}, got {photograph_size[1]}x{photograph_size[0]}"
        )
    if start is None:
        chosen = lowest + rng.random(2) * (highest - lowest)
        return np.clip(np.round(chosen * _POSITIONS_PER_PIXEL) / _POSITIONS_PER_PIXEL, lowest, highest)
    if np.any(start < lowest) or np.any(start > highest):
        raise ConfigError(
            f"camera move: expected a start between {tuple(lowest)} and {tuple(highest)}, got {tuple(start)}"
        )
    return np.asarray(start, dtype=np.float64)


def _cut_to_view(
    photograph: np.ndarray, transforms: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut from a photograph, as large as it may be, the part that the camera sees, as float32."""
    reached = _reached_corners(transforms, size)
    first = np.floor(reached.min(axis=(0, 2))).astype(int) - _KERNEL_REACH
    end = np.ceil(reached.max(axis=(0, 2))).astype(int) + _KERNEL_REACH + 1
    (left, top), (right, bottom) = np.maximum(first, 0), end
    moved = transforms.copy()
    moved[:, :, 2] -= (left, top)
    return photograph[top:bottom, left:right].astype(np.float32), moved


def _reached_corners(transforms: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Columns and rows of the photograph at the corners of each frame: (T, 2, 4)."""
    height, width = size
    corners = np.array([[x, y, 1.0] for x in (-0.5, width - 0.5) for y in (-0.5, height - 0.5)])
    return transforms @ corners.T


def _render_frame(
    photograph: np.ndarray, transform: np.ndarray, size: tuple[int, int], supersample: int
) -> np.ndarray:
    """Sample the photograph (float32) on a finer grid and average boxes: (H, W, 3) uint8."""
    import cv2

    height, width = size
    x = (np.arange(width * supersample) + 0.5) / supersample - 0.5
    y = (np.arange(height * supersample)[:, None] + 0.5) / supersample - 0.5
    columns = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2]
    rows = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2]
    fine = cv2.remap(photograph, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_CUBIC)
    mean = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8)


def exact_flow(transforms: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Backward flow between consecutive frames in closed form.

    A pixel x of frame t lies at A_t x in the photograph, hence at inv(A_{t-1}) A_t x in frame t - 1.

    Parameters
    ----------
    transforms : np.ndarray
        (T, 2, 3) float64, from the pixels (column, row) of each frame to the photograph.
    size : tuple of int
        Height and width of a frame, px.

    Returns
    -------
    np.ndarray
        (T - 1, H, W, 2) float64, horizontal and vertical displacement, px.
    """
    height, width = size
    square = np.zeros((len(transforms), 3, 3))
    square[:, :2] = transforms
    square[:, 2, 2] = 1.0
    # the identity is taken off the matrix before it meets the pixels, so that a pan comes out uniform
    displacement = (np.linalg.inv(square[:-1]) @ square[1:] - np.eye(3))[:, :2]
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    pixels = np.stack([columns, rows, np.ones_like(rows)])
    return np.einsum("tij,jhw->thwi", displacement, pixels)


def _lands_inside(backward: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Whether each flow vector ends inside the frame: (T - 1, H, W) bool."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    column, row = columns + backward[..., 0], rows + backward[..., 1]
    return (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
