"""Training clips that lie on a GPU: a batch of crops is cut by one gather, with no copy between host and device."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlsp.training.crops import TrainingCrops, Windows

COLORS = 3


class ResidentCrops:
    """The crops of a :class:`TrainingCrops`, cut on the device that holds all of its clips.

    Parameters
    ----------
    crops : TrainingCrops
        What is drawn, and the clips, which are copied.
    device : str
        Where to.
    """

    def __init__(self, crops: TrainingCrops, device: str) -> None:
        self.crops, self.device = crops, device
        self.lr, self.hr = (PixelStore(clips, device) for clips in (crops.lr_clips, crops.hr_clips))

    def batch(
        self, step: int, size: int, *, indices: range | None = None, frames: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Cut the pairs of a step; the same as :meth:`TrainingCrops.batch`, on the device."""
        crops, frames = self.crops, self.crops.frames if frames is None else frames
        windows = crops.draw(step, indices or range(size), frames)
        lr_frames = np.arange(crops.behind + frames + crops.ahead)
        flips = (windows.flip_rows, windows.flip_columns)
        places = (windows.rows, windows.columns)
        lr = self.lr.cut(windows, windows.first - windows.behind, lr_frames, places, crops.crop)
        shifted = [
            crops.scale * place + np.where(flip, crops.mirror_shift, 0)
            for place, flip in zip(places, flips, strict=True)
        ]
        hr = self.hr.cut(windows, windows.first, np.arange(frames), shifted, crops.scale * crops.crop)
        return lr.permute(0, 1, 4, 2, 3), hr.permute(0, 1, 4, 2, 3)


class PixelStore:
    """All pixels of some clips in one tensor (pixels, 3), clip after clip in the order of their names.

    Parameters
    ----------
    clips : mapping of str to ndarray, shape (T, H, W, 3), uint8
        The clips.
    device : str
        Where to.
    """

    def __init__(self, clips: Mapping[str, np.ndarray], device: str) -> None:
        ordered = [clips[name] for name in sorted(clips)]
        sizes = np.array([clip.shape[:3] for clip in ordered], dtype=np.int64)
        counts = sizes.prod(axis=1)
        self.starts = np.cumsum(counts) - counts
        self.heights, self.widths = sizes[:, 1], sizes[:, 2]
        self.pixels = torch.empty(int(counts.sum()), COLORS, dtype=torch.uint8, device=device)
        for start, count, clip in zip(self.starts, counts, ordered, strict=True):
            self.pixels[start : start + count] = torch.from_numpy(np.array(clip)).view(-1, COLORS)

    def cut(
        self,
        windows: Windows,
        first: np.ndarray,
        frames: np.ndarray,
        places: tuple[np.ndarray, np.ndarray] | list[np.ndarray],
        side: int,
    ) -> Tensor:
        """Cut square windows of `side` pixels.

        Parameters
        ----------
        windows : Windows
            Clips, and how the windows are turned.
        first : ndarray of int
            First frame of each.
        frames : ndarray of int
            0, 1, ..., as many frames as are cut.
        places : pair of ndarray of int
            First row and first column of each.
        side : int
            Height and width.

        Returns
        -------
        Tensor, shape (windows, frames, side, side, 3), uint8
        """
        along = np.arange(side)
        times = first[:, None] + _turned(frames, windows.is_reversed)
        rows = places[0][:, None] + _turned(along, windows.flip_rows)
        columns = places[1][:, None] + _turned(along, windows.flip_columns)
        widths = self.widths[windows.clip][:, None]
        starts = self.starts[windows.clip][:, None] + times * self.heights[windows.clip][:, None] * widths
        # pixel of frame t, window row i, window column j: starts[t] + down[i] + across[j]
        is_transposed = windows.is_transposed[:, None]
        down = np.where(is_transposed, columns, rows * widths)
        across = np.where(is_transposed, rows * widths, columns)
        parts = torch.from_numpy(np.concatenate([starts, down, across], axis=1))
        if self.pixels.is_cuda:
            parts = parts.pin_memory().to(self.pixels.device, non_blocking=True)
        starts, down, across = parts.split([len(frames), side, side], dim=1)
        index = starts[:, :, None, None] + down[:, None, :, None] + across[:, None, None, :]
        return self.pixels.index_select(0, index.flatten()).view(*index.shape, COLORS)


def _turned(numbers: np.ndarray, is_turned: np.ndarray) -> np.ndarray:
    """Repeat 0 .. n - 1 for each window, backwards where it is turned."""
    return np.where(is_turned[:, None], numbers[::-1], numbers)
