"""What every video super-resolution method of the benchmark has in common."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rlsp.color import luma

# Inputs and outputs of a layer: name and number of channels of each group.
ChannelGroups = tuple[list[tuple[str, int]], list[tuple[str, int]]]


def in_layout_of(x: Tensor, weight: Tensor) -> Tensor:
    """Lay a batch of pictures (N, C, h, w) out in memory as weights (outputs, inputs, rows, columns) are."""
    is_last = weight.is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


def in_precision_of_convolutions(x: Tensor) -> Tensor:
    """Round to what convolutions compute in here, under autocast to fewer bits, as they would do themselves."""
    kind = x.device.type
    is_rounded = kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind)  # a shape alone has no autocast
    return x.to(torch.get_autocast_dtype(kind)) if is_rounded else x


class VideoModel(nn.Module):
    """A method that restores a clip frame by frame.

    A sub-class implements :meth:`step`; one restorer, one trainer and one timer then serve it. All pictures
    are float32 in [0, 255], RGB going in.

    Parameters
    ----------
    scale : int
        Up-scaling factor.
    output : {"y", "rgb"}
        What comes out: BT.601 studio luma (one channel) or RGB.
    look_behind, look_ahead : int
        How many LR frames before and after the current one :meth:`step` wants to see.
    input_range : float
        The model works on pictures scaled to [0, input_range]; callers never see it.
    """

    def __init__(
        self, *, scale: int, output: str, look_behind: int, look_ahead: int, input_range: float = 255
    ) -> None:
        super().__init__()
        if output not in ("y", "rgb"):
            raise ValueError(f"output: expected 'y' or 'rgb', got {output!r}")
        self.scale, self.output = scale, output
        self.look_behind, self.look_ahead = look_behind, look_ahead
        self.input_range = input_range

    @property
    def colors(self) -> int:
        """Channels of the output: 1 for luma, 3 for RGB."""
        return 1 if self.output == "y" else 3

    def to(self, *args: Any, memory_format: torch.memory_format | None = None, **kwargs: Any) -> "VideoModel":
        """Move the model as :meth:`torch.nn.Module.to` does; a memory format is for the 4-dimensional weights.

        torch refuses channels-last for the weights of 3D convolutions, and their own form of it is slower on a
        CPU (tried with DUF-16L).
        """
        super().to(*args, **kwargs)
        if memory_format is not None:
            for parameter in self.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.to(memory_format=memory_format)
        return self

    has_fixed_output = False  # whether every step writes the same memory

    def fused(self, dtype: torch.dtype) -> "VideoModel | None":
        """Make a faster form of this model for inference, its convolutions in `dtype`; None where there is none.

        It restores the same pictures up to rounding, and may overwrite the carry and its output in place.
        """
        return None

    def carried(self, carry: Any) -> list[Tensor]:
        """List the tensors of a carry that the next step needs."""
        return [leaf for leaf in pytree.tree_leaves(carry) if isinstance(leaf, Tensor)]

    def carried_inputs(self) -> tuple[nn.Conv2d | None, slice]:
        """Name the convolution that sees what is carried from frame to frame, and which of its inputs that is."""
        return None, slice(0)

    def channel_groups(self) -> dict[str, ChannelGroups]:
        """Say what the inputs and outputs of each layer are, by the layer's name, for trainings that begin with it."""
        return {}

    def to_range(self, frames: Tensor) -> Tensor:
        """Scale pictures from [0, 255] to the model's input range."""
        return frames if self.input_range == 255 else frames * (self.input_range / 255)

    def from_range(self, output: Tensor) -> Tensor:
        """Scale the model's output back to [0, 255]."""
        return output if self.input_range == 255 else output * (255 / self.input_range)

    def step(self, frames: Tensor, carry: Any) -> tuple[Tensor, Any]:
        """Restore one frame.

        Parameters
        ----------
        frames : Tensor, shape (N, look_behind + 1 + look_ahead, 3, h, w)
            LR neighbours in order of time, float32 in [0, 255].
        carry : object or None
            What the previous step returned; None starts a clip.

        Returns
        -------
        sr : Tensor, shape (N, colors, scale * h, scale * w)
        carry : object
        """
        raise NotImplementedError  # pragma: no cover

    def missing_neighbour(self, frame: Tensor) -> Tensor:
        """Stand in for a neighbour beyond the first or last ``frame`` of a clip: by default a copy of it."""
        return frame

    def pad_clip(self, clip: Tensor) -> Tensor:
        """Give the first and last frame of a clip ``(N, T, C, h, w)`` their missing neighbours."""
        before = [self.missing_neighbour(clip[:, :1])] * self.look_behind
        after = [self.missing_neighbour(clip[:, -1:])] * self.look_ahead
        return torch.cat([*before, clip, *after], dim=1)

    def windows(self, clip: Tensor) -> list[Tensor]:
        """Cut a padded clip into the windows that the steps see."""
        size = self.look_behind + 1 + self.look_ahead
        return [clip[:, t : t + size] for t in range(clip.shape[1] - size + 1)]

    def forward(self, clip: Tensor) -> Tensor:
        """Restore a whole clip ``(N, T, 3, h, w)`` to ``(N, T, colors, scale * h, scale * w)``."""
        carry, restored = None, []
        for window in self.windows(self.pad_clip(clip)):
            sr, carry = self.step(window, carry)
            restored.append(sr)
        return torch.stack(restored, dim=1)

    def target(self, hr: Tensor) -> Tensor:
        """Bring the truth ``(N, T, 3, H, W)`` into the colour space of the output."""
        return luma(hr) if self.output == "y" else hr

    def loss(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Return what a training step minimises, in squared grey levels whatever the input range.

        By default the mean squared error of the output in its colour space; a sub-class may add terms or
        choose another function, and then says so, since the log shows this number and its PSNR.

        Parameters
        ----------
        lr : Tensor, shape (N, T, 3, h, w) or (N, look_behind + T + look_ahead, 3, h, w)
            In the second form the clip's ends come with their real neighbours.
        hr : Tensor, shape (N, T, 3, scale * h, scale * w)
        """
        clip = lr if lr.shape[1] != hr.shape[1] else self.pad_clip(lr)
        carry, squared = None, []
        target = self.target(hr)
        for t, window in enumerate(self.windows(clip)):
            sr, carry = self.step(window, carry)
            squared.append(F.mse_loss(sr, target[:, t]))
        return torch.stack(squared).mean()

    def scale_output(self, factor: float) -> None:
        """Multiply the weights of the layer that makes the output, as some recipes do at the start."""
        raise NotImplementedError(f"{type(self).__name__} has no output layer to scale")
