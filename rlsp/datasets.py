"""Training data: random paired crops as a pure function of (seed, step, index)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlsp.errors import DataError


class TrainingCrops:
    """Random crops of paired LR and HR clips.

    The crop at ``(step, index)`` depends on the seed and on these two numbers only, so neither resuming nor
    the number of workers or processes can change the data. A clip is drawn uniformly, then a first frame and
    a position uniformly inside it.

    Parameters
    ----------
    lr_clips, hr_clips : mapping of str to ndarray (T, h, w, 3) and (T, scale * h, scale * w, 3), uint8
        Clips by name, usually memory maps.
    scale : int
        Up-scaling factor.
    crop : int
        Side of the LR crop in pixels.
    frames : int
        Frames of a crop that have a ground truth.
    behind, ahead : int
        Further LR frames before the first and after the last of them (real neighbours).
    seed : int
        Seed of the draw.

    Raises
    ------
    DataError
        A clip is smaller or shorter than the crop, or LR and HR do not pair up.
    """

    def __init__(
        self,
        lr_clips: Mapping[str, np.ndarray],
        hr_clips: Mapping[str, np.ndarray],
        *,
        scale: int,
        crop: int,
        frames: int,
        behind: int = 0,
        ahead: int = 0,
        seed: int,
    ) -> None:
        if set(lr_clips) != set(hr_clips) or not hr_clips:
            raise DataError(f"training clips: LR has {sorted(lr_clips)}, HR has {sorted(hr_clips)}")
        self.names = sorted(hr_clips)
        self.lr_clips, self.hr_clips = lr_clips, hr_clips
        self.scale, self.crop, self.frames = scale, crop, frames
        self.behind, self.ahead, self.seed = behind, ahead, seed
        for name in self.names:
            self._check(name)

    def _check(self, name: str) -> None:
        t, h, w, _ = self.lr_clips[name].shape
        expected = (t, h * self.scale, w * self.scale, 3)
        if self.hr_clips[name].shape != expected:
            raise DataError(f"clip {name}: expected HR of shape {expected}, got {self.hr_clips[name].shape}")
        needed = self.behind + self.frames + self.ahead
        if t < needed or min(h, w) < self.crop:
            raise DataError(
                f"clip {name}: expected at least {needed} frames of {self.crop}x{self.crop} LR pixels "
                f"for the recipe's crop, got {t} frames of {w}x{h}"
            )

    def crop_at(self, step: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut the pair at ``(step, index)``: LR (behind + frames + ahead, crop, crop, 3) and HR, uint8."""
        rng = np.random.default_rng([self.seed, step, index])
        name = self.names[rng.integers(len(self.names))]
        lr, hr = self.lr_clips[name], self.hr_clips[name]
        t, h, w, _ = lr.shape
        first = rng.integers(self.behind, t - self.frames - self.ahead + 1)
        row, column = rng.integers(h - self.crop + 1), rng.integers(w - self.crop + 1)
        s, side = self.scale, self.crop
        lr_crop = lr[
            first - self.behind : first + self.frames + self.ahead, row : row + side, column : column + side
        ]
        hr_crop = hr[
            first : first + self.frames, s * row : s * (row + side), s * column : s * (column + side)
        ]
        return lr_crop, hr_crop

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Stack the pairs 0 .. size-1 of a step.

        Returns
        -------
        lr, hr : Tensor, shape (size, T, 3, h, w), uint8
            LR and HR; stored channels-last.
        """
        pairs = [self.crop_at(step, index) for index in range(size)]
        lr, hr = (np.stack(side) for side in zip(*pairs, strict=True))
        return torch.from_numpy(lr).permute(0, 1, 4, 2, 3), torch.from_numpy(hr).permute(0, 1, 4, 2, 3)
