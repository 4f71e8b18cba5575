"""Benchmark of Recurrent Latent Space Propagation for video super-resolution."""

import sys

__version__ = "0.1.0"
PYTHON = ((3, 11), (3, 14))  # the oldest and the newest that are tested

if not PYTHON[0] <= sys.version_info[:2] <= PYTHON[1]:
    # before anything is imported whose syntax an older Python would not even read
    sys.exit(
        "error: expected Python {}.{} to {}.{}, found {}.{}".format(
            *PYTHON[0], *PYTHON[1], *sys.version_info[:2]
        )
    )

# What people type in a notebook, with the module of each; imported when it is touched, as PyTorch takes seconds.
_OFFERED = {
    "Restorer": "rlsp.inference.restorer",
    "Study": "rlsp.config.study",
    "build_model": "rlsp.models",
    "degrade": "rlsp.data.degradation",
    "load_weights": "rlsp.models.weights",
    "psnr": "rlsp.metrics.fidelity",
    "read_clip": "rlsp.data.clips",
    "ssim": "rlsp.metrics.fidelity",
    "tof": "rlsp.metrics.temporal",
    "upscale": "rlsp.inference.upscaling",
    "warp_error": "rlsp.metrics.temporal",
}
__all__ = list(_OFFERED)


def __getattr__(name):
    """Import what the package offers."""
    if name not in _OFFERED:
        raise AttributeError(f"module 'rlsp' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(_OFFERED[name]), name)


def __dir__():
    """List what the package offers."""
    return sorted([*globals(), *_OFFERED])
