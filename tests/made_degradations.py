"""Degradations as the catalogue has them, resolved for scale 4, and a clip to degrade."""

import numpy as np

GAUSSIAN = {
    "kind": "gaussian", "scale": 4, "sigma": 1.5, "truncate": 4.0, "phase": 0, "boundary": "reflect",
    "rounding": "rint",
}  # fmt: skip
BICUBIC = {"kind": "bicubic", "scale": 4, "boundary": "symmetric", "round_between_passes": True}


def smooth_clip(frames=5, height=64, width=80):
    """Make smooth waves in motion (frames, height, width, 3), uint8."""
    rows, columns = np.mgrid[:height, :width]
    waves = [
        [128 + 90 * np.sin((columns + 2 * t) / 9 + c) * np.cos(rows / (11 + c)) for c in range(3)]
        for t in range(frames)
    ]
    return np.moveaxis(np.array(waves), 1, -1).astype(np.uint8)
