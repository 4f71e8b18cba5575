"""Measures and degradations of a user's own, as studies of the tests name them."""

import numpy as np


def mean_error(reference, restored):
    """Mean absolute error of the cropped luma of a frame."""
    return np.abs(reference - restored).mean()


def flicker(reference_grey, restored_grey):
    """Mean absolute change of the error from one frame to the next, over whole frames."""
    errors = [np.subtract(*pair, dtype=float) for pair in zip(reference_grey, restored_grey, strict=True)]
    return np.abs(errors[1] - errors[0]).mean()


def worst_error(reference, restored):
    """Largest mean absolute error of the frames of a clip."""
    return max(mean_error(*pair) for pair in zip(reference, restored, strict=True))


def block_mean(frame, *, scale, darker=0):
    """Mean of each block of scale x scale pixels, some grey levels darker."""
    height, width, channels = frame.shape
    blocks = frame.reshape(height // scale, scale, width // scale, scale, channels)
    return np.clip(np.rint(blocks.mean(axis=(1, 3))) - darker, 0, 255).astype(np.uint8)


NO_FUNCTION = 3
# By name the plain form of each measure, a kind each.
OWN = {
    name: {"function": f"made_metrics:{name}", "kind": kind, "inputs": inputs, "better": "lower"}
    for name, kind, inputs in (
        ("mean_error", "frame", ["reference", "restored"]),
        ("flicker", "pair", ["reference_grey", "restored_grey"]),
        ("worst_error", "clip", ["reference", "restored"]),
    )
}
BLOCK_MEAN = {"kind": "made_metrics:block_mean", "first_pixel": 1.5, "scale": 4, "darker": 2}
