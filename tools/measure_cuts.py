"""Count the scene cuts that are missed and invented: in shots joined at random, and in shots as they are."""

import argparse
import csv
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from rlsp.data.clips import VIDEO_SUFFIXES
from rlsp.data.cuts import find_cuts
from rlsp.data.decoding import read_video

FILMS, SCENES, SEED = 60, 6, 0  # films joined for each range of lengths, scenes of each
LENGTHS = {"6 to 30": (6, 30), "1 to 4": (1, 4)}  # frames of a scene
HEADS = ("finder", "scenes of", "cuts", "missed", "invented", "frames of uncut shots", "invented in them")


def ours(frames: Iterable[np.ndarray]) -> list[int]:
    """Cuts that this project finds."""
    return [number for number, (_, is_cut) in enumerate(find_cuts(frames)) if is_cut]


def theirs(name: str) -> Callable[[Iterable[np.ndarray]], list[int]]:
    """Cuts that a detector of PySceneDetect finds with its own settings, a scene of one frame allowed."""

    def find(frames: Iterable[np.ndarray]) -> list[int]:
        import scenedetect

        detector, found = getattr(scenedetect, name)(min_scene_len=1), []
        for number, frame in enumerate(frames):
            bgr = np.ascontiguousarray(frame[..., ::-1])
            found += detector.process_frame(scenedetect.FrameTimecode(number, 25.0), bgr)
        return [cut.frame_num for cut in found]

    return find


FINDERS = {
    "rlsp": ours,
    "PySceneDetect AdaptiveDetector": theirs("AdaptiveDetector"),
    "PySceneDetect ContentDetector": theirs("ContentDetector"),
}


def join(shots: Sequence[np.ndarray], lengths: tuple[int, int], rng: random.Random) -> tuple[list, list[int]]:
    """Join scenes of different shots, cut to the smallest frame; returns the frames and where scenes begin."""
    height, width = (min(shot.shape[axis] for shot in shots) for axis in (1, 2))
    frames, cuts, last = [], [], None
    for _ in range(SCENES):
        last = rng.choice([number for number in range(len(shots)) if number != last])
        length = min(rng.randint(*lengths), len(shots[last]))
        first = rng.randint(0, len(shots[last]) - length)
        cuts += [len(frames)] if frames else []
        frames += list(shots[last][first : first + length, :height, :width])
    return frames, cuts


def main() -> None:
    """Measure on folders of videos that have no cut."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of videos, each a single shot")
    folders = parser.parse_args().folders
    files = sorted(f for folder in folders for f in folder.iterdir() if f.suffix in VIDEO_SUFFIXES)
    shots = [np.stack(list(read_video(file))) for file in files]
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(HEADS)
    for name, find in FINDERS.items():
        uncut = sum(len(find(shot)) for shot in shots)
        for label, lengths in LENGTHS.items():
            rng, counts = random.Random(SEED), np.zeros(3, int)
            for _ in range(FILMS):
                frames, cuts = join(shots, lengths, rng)
                found = set(find(frames))
                counts += len(cuts), len(set(cuts) - found), len(found - set(cuts))
            table.writerow([name, label, *counts, sum(map(len, shots)), uncut])


if __name__ == "__main__":
    main()
