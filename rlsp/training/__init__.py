"""Training: one loop for every model, exact resume, the same bytes for the same seed on a CPU."""

from rlsp.training.job import TrainingJob, train
from rlsp.training.loop import Trainer

__all__ = ["Trainer", "TrainingJob", "train"]
