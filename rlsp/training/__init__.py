"""Training: one loop for every model, exact resume, the same bytes for the same seed on a CPU."""

from rlsp.training.loop import Trainer, train

__all__ = ["Trainer", "train"]
