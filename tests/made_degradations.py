"""Degradations as the catalogue has them, resolved for scale 4."""

GAUSSIAN = {
    "kind": "gaussian", "scale": 4, "sigma": 1.5, "truncate": 4.0, "phase": 0, "boundary": "reflect",
    "rounding": "rint",
}  # fmt: skip
BICUBIC = {"kind": "bicubic", "scale": 4, "boundary": "symmetric", "round_between_passes": True}
