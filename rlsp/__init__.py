"""Benchmark of Recurrent Latent Space Propagation for video super-resolution."""

import sys

PYTHON = ((3, 11), (3, 14))  # the oldest and the newest that are tested

if not PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
    # before anything is imported whose syntax an older Python would not even read
    sys.exit(
        "error: expected Python {}.{} to {}.{}, found {}.{}".format(
            *PYTHON[0], *PYTHON[1], *sys.version_info[:2]
        )
    )
