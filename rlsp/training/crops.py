"""Training data: random paired crops as a pure function of (seed, step, index)."""

import contextlib
import copy
import math
import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rlsp.config.specs.recipes import Recipe
from rlsp.errors import DataError

# Numbers drawn for a crop: clip, first frame, row, column; whether rows and columns are mirrored, both exchanged, and
# time turned round.
DRAWN = 8
PREFETCH = 4  # batches that each worker has ready: a slow read of a shared disk is bridged
Clips = Mapping[str, np.ndarray]


class TrainingCrops:
    """Random crops of paired LR and HR clips.

    The crop at ``(step, index)`` depends on the seed and on these two numbers only, so neither resuming nor
    the number of workers or processes can change the data. A clip is drawn uniformly, then a first frame and
    a position uniformly inside it.

    Parameters
    ----------
    lr_clips, hr_clips : mapping of str to ndarray, (T, h, w, 3) and (T, scale * h, scale * w, 3), uint8
        Clips by name: memory maps, or what is cut like them.
    scale : int
        Up-scaling factor.
    crop : int
        Side of the LR crop in pixels.
    frames : int
        Frames of a crop that have a ground truth; the most, where recipes ask for several lengths.
    behind, ahead : int
        Further LR frames before the first and after the last of them (real neighbours).
    seed : int
        Seed of the draw.
    augment : sequence of {"flip", "transpose", "reverse"}
        Mirror rows and columns, exchange them, turn time round: each with probability 1/2.
    phase : float
        HR coordinate of the centre of LR pixel 0 (:func:`rlsp.data.degradation.phase`). A mirrored LR grid sits
        elsewhere on the HR pixels unless they are sampled in the middle, so the HR window moves with it.

    Raises
    ------
    DataError
        A clip is smaller or shorter than the crop, or LR and HR do not pair up.
    """

    def __init__(
        self,
        lr_clips: Clips,
        hr_clips: Clips,
        *,
        scale: int,
        crop: int,
        frames: int,
        behind: int = 0,
        ahead: int = 0,
        seed: int,
        augment: Sequence[str] = (),
        phase: float = 0.0,
    ) -> None:
        if set(lr_clips) != set(hr_clips) or not hr_clips:
            raise DataError(f"training clips: LR has {sorted(lr_clips)}, HR has {sorted(hr_clips)}")
        self.names = sorted(hr_clips)
        self.lr_clips, self.hr_clips = lr_clips, hr_clips
        self.scale, self.crop, self.frames = scale, crop, frames
        self.behind, self.ahead, self.seed = behind, ahead, seed
        self.augment = tuple(augment)
        # Mirrored, LR pixel i of a window of n lies at HR n * scale - 1 - (scale * i + phase) of the window as
        # it was; it has to lie at scale * (n - 1 - i) + phase: the window moves by the difference.
        self.mirror_shift = round(2 * phase - (scale - 1))
        for name in self.names:
            self._check(name)
        self.sizes = np.array([lr_clips[name].shape[:3] for name in self.names])

    def _check(self, name: str) -> None:
        t, h, w, _ = self.lr_clips[name].shape
        expected = (t, h * self.scale, w * self.scale, 3)
        if tuple(self.hr_clips[name].shape) != expected:
            raise DataError(
                f"clip {name}: expected HR of shape {expected}, got {tuple(self.hr_clips[name].shape)}"
            )
        needed = self.behind + self.frames + self.ahead
        side = self.crop + (self._margin if "flip" in self.augment else 0)
        if t < needed or min(h, w) < side:
            raise DataError(
                f"clip {name}: expected at least {needed} frames of {side}x{side} LR pixels "
                f"for the recipe's crop, got {t} frames of {w}x{h}"
            )

    @property
    def _margin(self) -> int:
        """LR pixels beside a crop that the shifted HR window of a mirrored one may need."""
        return math.ceil(abs(self.mirror_shift) / self.scale)

    @property
    def nbytes(self) -> int:
        """Bytes of all clips together."""
        return sum(clip.nbytes for clips in (self.lr_clips, self.hr_clips) for clip in clips.values())

    def with_clips(self, lr_clips: Mapping[str, Any], hr_clips: Mapping[str, Any]) -> "TrainingCrops":
        """Draw from other clips in the same way, such as these elsewhere; they are not checked again."""
        other = copy.copy(self)
        other.lr_clips, other.hr_clips, other.names = lr_clips, hr_clips, sorted(hr_clips)
        other.sizes = np.array([lr_clips[name].shape[:3] for name in other.names])
        return other

    def draw(self, step: int, indices: range, frames: int) -> "Windows":
        """Draw where the crops `indices` of a step lie; each depends on the seed, the step and its index only.

        Models that see neighbours and models that see none draw the same frames where a clip has one to spare at
        both ends, so that they can be compared on the same data.
        """
        drawn = np.random.default_rng([self.seed, step]).random((indices.stop, DRAWN))[indices.start :]
        clip = _draw_below(drawn[:, 0], len(self.names))
        heads = drawn[:, 4:] < 0.5
        flip_rows, flip_columns = (heads[:, i] & ("flip" in self.augment) for i in (0, 1))
        is_transposed, is_reversed = (
            heads[:, i] & (name in self.augment) for i, name in ((2, "transpose"), (3, "reverse"))
        )
        # turned round, what lay behind lies ahead
        behind = np.where(is_reversed, self.ahead, self.behind)
        ahead = self.behind + self.ahead - behind
        lengths, heights, widths = self.sizes[clip].T
        lowest, highest = behind, lengths - frames - ahead
        is_spared = (behind + ahead == 0) & (highest >= 2)
        lowest, highest = lowest + is_spared, highest - is_spared
        first = lowest + _draw_below(drawn[:, 1], highest - lowest + 1)
        rows = self._draw_place(drawn[:, 2], heights, flip_rows)
        columns = self._draw_place(drawn[:, 3], widths, flip_columns)
        return Windows(
            clip, first, rows, columns, flip_rows, flip_columns, is_transposed, is_reversed, behind
        )

    def _draw_place(self, drawn: np.ndarray, sizes: np.ndarray, is_flipped: np.ndarray) -> np.ndarray:
        """First LR rows or columns of crops, such that the HR windows stay inside the frame."""
        margin = np.where(is_flipped, self._margin, 0)
        lowest = margin if self.mirror_shift < 0 else 0
        highest = sizes - self.crop - (margin if self.mirror_shift > 0 else 0)
        return lowest + _draw_below(drawn, highest - lowest + 1)

    def crop_at(self, step: int, index: int, frames: int | None = None) -> tuple[Tensor, Tensor]:
        """Cut the pair at ``(step, index)``.

        Parameters
        ----------
        step, index : int
            What the draw depends on, besides the seed.
        frames : int, optional
            Length of the crop, by default the recipe's.

        Returns
        -------
        lr, hr : Tensor, (behind + frames + ahead, crop, crop, 3) and (frames, scale * crop, scale * crop, 3), uint8
        """
        frames = self.frames if frames is None else frames
        return self.cut(self.draw(step, range(index, index + 1), frames), 0, frames)

    def cut(self, windows: "Windows", number: int, frames: int) -> tuple[Tensor, Tensor]:
        """Cut one of the drawn pairs out of its clips; see :meth:`crop_at`."""
        one = windows[number]
        name, first, s, side = self.names[one.clip], one.first, self.scale, self.crop
        flips, places = (one.flip_rows, one.flip_columns), (one.rows, one.columns)
        lr_window = tuple(slice(place, place + side) for place in places)
        shifts = [self.mirror_shift if flip else 0 for flip in flips]
        hr_window = tuple(
            slice(s * place + shift, s * (place + side) + shift)
            for place, shift in zip(places, shifts, strict=True)
        )
        start = first - one.behind
        lr_frames = slice(start, start + self.behind + frames + self.ahead)
        lr_crop = _as_tensor(self.lr_clips[name][(lr_frames, *lr_window)])
        hr_crop = _as_tensor(self.hr_clips[name][(slice(first, first + frames), *hr_window)])
        turned = [axis for axis, is_turned in enumerate((one.is_reversed, *flips)) if is_turned]
        pair = (part.flip(turned) if turned else part for part in (lr_crop, hr_crop))
        lr_crop, hr_crop = (part.transpose(1, 2) if one.is_transposed else part for part in pair)
        return lr_crop, hr_crop

    def batch(
        self, step: int, size: int, *, indices: range | None = None, frames: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Stack the pairs of a step.

        Parameters
        ----------
        step : int
            Number of the step.
        size : int
            Pairs 0 .. size - 1 are taken,
        indices : range, optional
            or these of them: a process's share of the batch.
        frames : int, optional
            Length of the crops, by default the recipe's.

        Returns
        -------
        lr, hr : Tensor, shape (size, T, 3, h, w), uint8
            LR and HR; stored channels-last.
        """
        frames = self.frames if frames is None else frames
        windows = self.draw(step, indices or range(size), frames)
        pairs = [self.cut(windows, number, frames) for number in range(len(windows.clip))]
        lr, hr = (torch.stack(side) for side in zip(*pairs, strict=True))
        return lr.permute(0, 1, 4, 2, 3), hr.permute(0, 1, 4, 2, 3)


@dataclass(frozen=True)
class Windows:
    """Where drawn crops lie, an entry of each array for each crop; LR frames, rows and columns count from 0.

    Attributes
    ----------
    clip : ndarray of int
        Number of the clip in the order of names.
    first, rows, columns : ndarray of int
        First frame that has a ground truth, first row and first column of the LR window.
    flip_rows, flip_columns, is_transposed, is_reversed : ndarray of bool
        How it is turned.
    behind : ndarray of int
        Further LR frames before the first one.
    """

    clip: np.ndarray
    first: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    flip_rows: np.ndarray
    flip_columns: np.ndarray
    is_transposed: np.ndarray
    is_reversed: np.ndarray
    behind: np.ndarray

    def __getitem__(self, number: int) -> "Windows":
        """One crop's, as plain numbers."""
        return Windows(*(getattr(self, field.name)[number].item() for field in fields(self)))


def _draw_below(drawn: np.ndarray, limits: np.ndarray | int) -> np.ndarray:
    """Turn numbers of [0, 1) into whole numbers from 0 to below the limits."""
    return (drawn * limits).astype(np.int64)


def _as_tensor(part: np.ndarray) -> Tensor:
    """Give a part of a clip as a tensor; one of a memory map is read from disk now."""
    return torch.from_numpy(np.array(part))


class Batches(Dataset):
    """The batches of a training by number of the step; what :func:`read_batches` hands to its workers.

    Parameters
    ----------
    crops : TrainingCrops or ResidentCrops
        The data.
    recipe : Recipe
        ``steps``, ``batch``, ``frames`` and ``long_clips``.
    rank, processes : int
        Which share of each batch is wanted: process `rank` of `processes`.
    """

    def __init__(self, crops: TrainingCrops, recipe: Recipe, *, rank: int = 0, processes: int = 1) -> None:
        self.crops, self.recipe, self.rank, self.processes = crops, recipe, rank, processes

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Cut the share of one step's batch."""
        size, frames = batch_shape(step, self.recipe)
        share = size // self.processes
        indices = range(self.rank * share, (self.rank + 1) * share)
        return self.crops.batch(step, size, indices=indices, frames=frames)


def batch_shape(step: int, recipe: Recipe) -> tuple[int, int]:
    """Crops and frames of one step's batch: the recipe's, or those of its ``long_clips`` late in training."""
    late = recipe.long_clips
    if late and step >= round(late.after * recipe.steps):
        return late.batch, late.frames
    return recipe.batch, recipe.frames


def read_batches(
    batches: Batches, first: int, *, workers: int = 0, pin_memory: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches from step `first` to the last one, read ahead by worker processes.

    Parameters
    ----------
    batches : Batches
        All batches.
    first : int
        Step to begin with.
    workers : int
        Processes that read ahead; 0 reads in this one. They change no batch.
    pin_memory : bool
        Put the batches into page-locked memory, from which a GPU copies beside its work.
    """
    options = {}
    if workers:
        # forked workers share the memory maps; spawned ones would be sent copies of whole clips
        options = {
            "multiprocessing_context": multiprocessing.get_context("fork"),
            "prefetch_factor": PREFETCH,
            "worker_init_fn": _ignore_sigterm,
        }
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, batches.recipe.steps),
        num_workers=workers,
        pin_memory=pin_memory,
        **options,
    )
    iterator = iter(loader)
    try:
        yield from iterator
    finally:
        if workers:  # at once: as long as torch remembers a dead worker, it raises at any signal of a child
            iterator._shutdown_workers()


def _ignore_sigterm(_worker: int) -> None:
    """Leave SIGTERM, which a scheduler sends to every process of a job, to the trainer: it saves first."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def reader_errors() -> Iterator[None]:
    """Tell in one line that a reading process died; torch lets whatever runs at that moment fail.

    Raises
    ------
    DataError
        A worker of :func:`read_batches` died.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        # a worker that dies while a batch is handed over shows as a broken connection
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"a process that reads training data ended unexpectedly ({reason}); "
            "the same command goes on from the last checkpoint"
        ) from error
