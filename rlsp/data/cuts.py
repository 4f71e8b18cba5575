"""Scene cuts: found while frames go by, so that no recurrence carries one scene into the next."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

# PySceneDetect's AdaptiveDetector finds them: the mean change of hue, saturation and brightness from one frame to the
# next, in grey levels, has to be at least LEAST, and RATIO times the mean of the WINDOW changes before and the WINDOW
# after it. Its default ratio of 3 misses a quarter of the cuts between shots in fast motion, and where it reduces
# frames to 256 columns, 64 let motion by a few pixels count for less (tools/measure_cuts.py measures both).
WIDTH = 64
WINDOW = 2
RATIO = 2.0
LEAST = 15.0
# Where every frame differs from the next, as in a folder of photographs, no change stands out. Frames whose brightness
# changes by LEAST and correlates by less than UNLIKE are of two scenes whatever comes before and after: the least
# correlation between neighbours in 34 shots of fast motion was 0.22, and 82 of 100 pairs of other shots have less.
UNLIKE = 0.2


def split_scenes(frames: Iterable[np.ndarray]) -> Iterator[Iterator[np.ndarray]]:
    """Split a video where a scene ends, two frames behind the input.

    Parameters
    ----------
    frames : iterable of ndarray, shape (H, W, 3), uint8
        Frames of a video, RGB.

    Yields
    ------
    iterator of ndarray
        Frames of a scene. It ends when the next scene is asked for, as with :func:`itertools.groupby`.
    """
    return _split(find_cuts(frames))


def split_at(frames: Iterable[np.ndarray], cuts: Iterable[int]) -> Iterator[Iterator[np.ndarray]]:
    """Split a video before the frames of these numbers, counted from 0; see :func:`split_scenes`."""
    begins = frozenset(cuts)
    return _split((frame, number in begins) for number, frame in enumerate(frames))


def _split(marked: Iterable[tuple[np.ndarray, bool]]) -> Iterator[Iterator[np.ndarray]]:
    """Split frames before those marked."""
    scenes = itertools.accumulate(
        marked, lambda scene, pair: (scene[0] + pair[1], pair[0]), initial=(0, None)
    )
    for _, scene in itertools.groupby(itertools.islice(scenes, 1, None), key=lambda pair: pair[0]):
        yield (frame for _, frame in scene)


def find_cuts(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Tell of each frame whether another scene begins with it, two frames behind the input.

    Found are hard cuts; fades and dissolves are not, and both ends of a flash of light may be taken for cuts. Beyond
    the first and the last frame the video is mirrored, so that a cut may be anywhere; of a single frame of another
    scene there it is found only where it has nothing in common with its neighbour.

    Parameters
    ----------
    frames : iterable of ndarray, shape (H, W, 3), uint8
        Frames of a video, RGB.

    Yields
    ------
    frame : ndarray, shape (H, W, 3), uint8
        As it was given.
    is_cut : bool
        Never true of the first frame.

    References
    ----------
    PySceneDetect, https://www.scenedetect.com/docs/latest/api/detectors.html
    """
    from scenedetect import FrameTimecode
    from scenedetect.detectors import AdaptiveDetector

    detector = AdaptiveDetector(
        adaptive_threshold=RATIO, min_content_val=LEAST, window_width=WINDOW, min_scene_len=1
    )
    waiting: deque[tuple[np.ndarray, bool, bool]] = deque()
    is_first, before = True, None
    for number, (frame, is_shown) in enumerate(_mirrored(frames)):
        reduced = _reduced(frame)
        found = detector.process_frame(FrameTimecode(number, 1.0), reduced)  # a cut WINDOW frames ago
        brightness = reduced.mean(axis=2)
        waiting.append((frame, is_shown, before is not None and _are_unlike(before, brightness)))
        before = brightness
        if len(waiting) > WINDOW:
            frame, is_shown, is_unlike = waiting.popleft()
            if is_shown:
                yield frame, (bool(found) or is_unlike) and not is_first
                is_first = False


def _are_unlike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two frames, (h, w) of brightness, have nothing in common; flat ones are not judged."""
    if np.abs(a - b).mean() < LEAST:
        return False
    a, b = a - a.mean(), b - b.mean()
    power = float((a * a).sum() * (b * b).sum())
    return power > 0 and float((a * b).sum()) < UNLIKE * power**0.5


def _mirrored(frames: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Add WINDOW mirrored frames before the first and after the last; true marks those of the video."""
    frames = iter(frames)
    head = list(itertools.islice(frames, WINDOW + 1))
    tail: deque[np.ndarray] = deque(maxlen=WINDOW + 1)
    for distance in range(WINDOW, 0, -1) if head else ():
        yield head[_inside(distance, len(head))], False
    for frame in itertools.chain(head, frames):
        tail.append(frame)
        yield frame, True
    for distance in range(1, WINDOW + 1) if head else ():
        yield tail[-1 - _inside(distance, len(tail))], False


def _inside(distance: int, count: int) -> int:
    """Mirror a distance back and forth into fewer than `count` frames."""
    return min(distance, abs(2 * (count - 1) - distance)) if count > 1 else 0


def _reduced(frame: np.ndarray) -> np.ndarray:
    """Average a frame to at most WIDTH columns, in the channel order of OpenCV."""
    import cv2

    height, width = frame.shape[:2]
    if width > WIDTH:
        size = (WIDTH, max(1, round(height * WIDTH / width)))
        frame = cv2.resize(np.ascontiguousarray(frame), size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(frame[..., ::-1])
