r"""Dynamic upsampling filters (Jo, Oh, Kang, Kim, CVPR 2018), as in the released ``nets.py`` and ``test.py``.

A 3D dense network sees the LR frames x_{t-3} .. x_{t+3} and gives, for each LR pixel (row, column), a filter
of 5x5 taps for each of its 4x4 sub-pixels (i, j), whose taps sum to 1, and a residual. With zeros beyond the
frame,

.. math::

    y_t(4\,row + i, 4\,column + j) = \sum_{k,l=0}^{4} f_{5k+l,\,4i+j}(row, column)\;
        x_t(row + k - 2, column + l - 2) + r_{i,j}(row, column)

The filters are the same for the three colours, the residual is not. All of it happens at LR resolution and is
shuffled up once.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlsp.color import luma
from rlsp.models.base import VideoModel
from rlsp.models.shuffle import shuffle_up

RADIUS = 3  # frames on each side
TAPS = 5  # side of a filter, in LR pixels


def dynamic_filter(frame: Tensor, filters: Tensor) -> Tensor:
    """Apply a filter of its own to each LR pixel and sub-pixel, in float32.

    Parameters
    ----------
    frame : Tensor, shape (N, C, h, w)
        LR frame; zeros stand beyond its border, as in the released code.
    filters : Tensor, shape (N, 25, S, h, w)
        For each of S sub-pixels the 25 taps in order of rows.

    Returns
    -------
    Tensor, shape (N, S * C, h, w)
        Channel ``s * C + c``, the order of :func:`rlsp.models.shuffle.shuffle_up`.
    """
    n, channels, h, w = frame.shape
    patches = F.unfold(frame.float(), TAPS, padding=TAPS // 2).unflatten(1, (channels, TAPS**2))
    # one matrix product for each pixel; einsum would not copy to contiguous memory, and take ten times as long
    patches = patches.permute(0, 3, 1, 2).contiguous()  # (N, pixels, C, 25)
    filters = filters.float().flatten(3).permute(0, 3, 1, 2).contiguous()  # (N, pixels, 25, S)
    with full_precision(frame):
        filtered = patches @ filters  # (N, pixels, C, S)
    return filtered.permute(0, 3, 2, 1).reshape(n, -1, h, w)


def full_precision(tensor: Tensor) -> AbstractContextManager:
    """Keep matrix products of float32 in float32 under autocast (the meta device knows no autocast)."""
    kind = tensor.device.type
    known = torch.amp.is_autocast_available(kind)
    return torch.autocast(kind, enabled=False) if known else nullcontext()


class BatchNorm(nn.BatchNorm3d):
    """Batch normalisation as released: epsilon 0.001, moving averages of decay 0.999 without a bias to 0.

    The buffers hold the plain moving averages, which start at 0, and that of 1, which is 1 - 0.999^n after n
    training steps: divided by it they are weighted means, so that evaluating after few steps is as right as
    after many. They stay so in a moving average of the model's buffers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=0.001, momentum=0.001)
        self.register_buffer("seen", torch.zeros(()))

    def reset_running_stats(self) -> None:
        """Forget the averages."""
        self.running_mean.zero_()
        self.running_var.zero_()
        self.num_batches_tracked.zero_()
        if hasattr(self, "seen"):  # not yet where torch's own constructor calls
            self.seen.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, channels, T, h, w): by the batch in training, by the averages in evaluation.

        Before the first training step the averages count as mean 0 and variance 1.
        """
        if self.training:
            self.seen.mul_(1 - self.momentum).add_(self.momentum)
            return super().forward(x)
        mean = torch.where(self.seen > 0, self.running_mean / self.seen, 0.0)
        variance = torch.where(self.seen > 0, self.running_var / self.seen, 1.0)
        return F.batch_norm(x, mean, variance, self.weight, self.bias, False, 0.0, self.eps)


class DenseBlock(nn.Module):
    """One layer of the dense network: a 1x1x1 and a 3x3x3 convolution, the result appended to the input.

    Parameters
    ----------
    channels, growth : int
        Channels of the input, and those that are appended.
    shorten : bool
        Do not pad in time: two frames fewer come out, and the input's outer two are dropped.
    """

    def __init__(self, channels: int, growth: int, *, shorten: bool) -> None:
        super().__init__()
        self.shorten = shorten
        self.layers = nn.Sequential(
            BatchNorm(channels),
            nn.ReLU(),
            nn.Conv3d(channels, channels, 1),
            BatchNorm(channels),
            nn.ReLU(),
            nn.Conv3d(channels, growth, 3, padding=(0 if shorten else 1, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, T, h, w) to (N, channels + growth, T or T - 2, h, w)."""
        return torch.cat([x[:, :, 1:-1] if self.shorten else x, self.layers(x)], dim=1)


def head(channels: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two 1x1x1 convolutions: for the filters and for the residual."""
    return nn.Sequential(nn.Conv3d(channels, hidden, 1), nn.ReLU(), nn.Conv3d(hidden, outputs, 1))


class DUF(VideoModel):
    """DUF with 16, 28 or 52 layers: a sliding window of seven frames, an empty carry.

    Frames beyond the ends of a clip are black. The released ``test.py`` mirrors 8 HR pixels at the borders
    before it makes the LR frames, and cuts the same 2 LR pixels off again before the network: they only serve
    the blur. So by default nothing is added here, and the zeros around the filtered frame darken the two
    outermost LR pixels, as in the released frames.

    Parameters
    ----------
    layers : int
        Layers on the longest path, 4 + 2 for each dense block: 16, 28 or 52 in the paper, even, at least 10.
    filters : int
        Filters of the first convolution; the layers after the blocks have 4 and 8 times as many.
    growth : int, optional
        Channels that a dense block appends; by default 32 of 16 layers and 16 of others, as released.
    output : {"rgb", "y"}
        "rgb" as released, or luma.
    scale : int
        Up-scaling factor.
    border : int
        LR pixels by which borders are mirrored before the network and cropped after it; frames must be larger.
    huber_delta : float, optional
        Train with the Huber function of this threshold, on pictures in [0, 1], as the released ``utils.py``
        does; it does not give the threshold. By default with the mean squared error.
    input_range : float
        The network works on [0, input_range]; the released code's is 1.

    Raises
    ------
    ValueError
        The number of layers is odd or too small, or there is no filter.

    References
    ----------
    .. [1] Y. Jo, S. W. Oh, J. Kang, S. J. Kim, "Deep Video Super-Resolution Network Using Dynamic Upsampling
       Filters Without Explicit Motion Compensation", CVPR 2018. https://github.com/yhjo09/VSR-DUF
    """

    def __init__(
        self,
        *,
        layers: int,
        filters: int,
        growth: int | None,
        output: str,
        scale: int,
        border: int,
        huber_delta: float | None,
        input_range: float,
    ) -> None:
        super().__init__(
            scale=scale, output=output, look_behind=RADIUS, look_ahead=RADIUS, input_range=input_range
        )
        if layers < 10 or layers % 2:
            raise ValueError(f"layers: expected an even number of at least 10, got {layers}")
        if filters < 1:
            raise ValueError(f"filters: expected at least 1, got {filters}")
        self.border, self.huber_delta = border, huber_delta
        growth = growth or (32 if layers == 16 else 16)
        blocks = (layers - 4) // 2
        widths = [filters + growth * block for block in range(blocks + 1)]
        self.first = nn.Conv3d(3, filters, (1, 3, 3), padding=(0, 1, 1))
        self.blocks = nn.Sequential(
            *(DenseBlock(width, growth, shorten=block >= blocks - RADIUS)
              for block, width in enumerate(widths[:-1]))
        )  # fmt: skip
        wide = 4 * filters
        self.last = nn.Sequential(
            BatchNorm(widths[-1]), nn.ReLU(), nn.Conv3d(widths[-1], wide, (1, 3, 3), padding=(0, 1, 1)),
            nn.ReLU(),
        )  # fmt: skip
        self.residual_head = head(wide, wide, self.colors * scale**2)
        self.filter_head = head(wide, 2 * wide, TAPS**2 * scale**2)

    def missing_neighbour(self, frame: Tensor) -> Tensor:
        """Stand in for a neighbour beyond the ends of a clip: a black frame."""
        return torch.zeros_like(frame)

    def predict(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Make the filters and the residual of the middle frame.

        Parameters
        ----------
        frames : Tensor, shape (N, 7, 3, h, w)
            On the input range.

        Returns
        -------
        filters : Tensor, shape (N, 25, scale * scale, h, w), float32
            Sums over the 25 taps are 1.
        residual : Tensor, shape (N, scale * scale * colors, h, w), float32
        """
        x = self.first(frames.transpose(1, 2).contiguous())
        x = self.last(self.blocks(x))  # (N, 4 * filters, 1, h, w)
        taps = self.filter_head(x)[:, :, 0].unflatten(1, (TAPS**2, self.scale**2))
        return taps.float().softmax(dim=1), self.residual_head(x)[:, :, 0].float()

    def restore(self, frames: Tensor) -> Tensor:
        """Restore the middle of seven frames (N, 7, 3, h, w) to (N, colors, scale * h, scale * w) in [0, 255]."""
        n, _, _, h, w = frames.shape
        if self.border:
            frames = F.pad(frames.flatten(0, 1), [self.border] * 4, mode="reflect").unflatten(0, (n, -1))
        filters, residual = self.predict(self.to_range(frames))
        middle = frames[:, RADIUS]
        base = self.to_range(luma(middle) if self.output == "y" else middle)
        sr = shuffle_up(self.from_range(dynamic_filter(base, filters) + residual), self.scale)
        start = self.scale * self.border
        return sr[:, :, start : start + self.scale * h, start : start + self.scale * w]

    def step(self, frames: Tensor, carry: tuple = ()) -> tuple[Tensor, tuple]:
        """Restore one frame; the carry is empty."""
        return self.restore(frames), ()

    def loss(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Mean squared error, or Huber function, of all frames of a batch at once, in squared grey levels.

        The Huber function is doubled: below its threshold it is the squared error.
        """
        clip = lr if lr.shape[1] != hr.shape[1] else self.pad_clip(lr)
        windows = torch.stack(self.windows(clip), dim=1).flatten(0, 1)
        sr, target = self.restore(windows), self.target(hr).flatten(0, 1)
        if self.huber_delta is None:
            return F.mse_loss(sr, target)
        return 2 * F.huber_loss(sr, target, delta=255 * self.huber_delta)

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiply the filters of the layer that makes the residual; the upsampling filters sum to 1 anyway."""
        self.residual_head[-1].weight *= factor
