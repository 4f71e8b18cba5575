"""RLSP as fast as it goes: the same cell on one buffer, for inference only."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from rlsp.color import luma
from rlsp.models.base import VideoModel

if TYPE_CHECKING:
    from rlsp.models.rlsp import RLSP

ALIGNMENT = 8  # channels; the matrix units of GPUs want multiples of 16 bytes
ONE = [1, 1]  # stride, padding and dilation of every convolution


class FusedConvolution:
    """A 3x3 convolution with its bias and ReLU in one kernel, where the library has one.

    oneDNN on a CPU, with the weights laid out beforehand as it likes them best; cuDNN on a GPU. Elsewhere it is
    a convolution and a ReLU.

    Parameters
    ----------
    weight : Tensor, shape (outputs, inputs, 3, 3)
        Its dtype and device are those of the input.
    bias : Tensor, shape (outputs,)
    relu : bool
        Whether a ReLU follows.
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool) -> None:
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias, self.relu = bias, relu
        self._laid_out: dict[tuple[int, ...], Tensor] = {}  # by shape of the input
        has_onednn = torch.backends.mkldnn.is_available() and hasattr(
            torch.ops.mkldnn, "_convolution_pointwise"
        )
        kind = weight.device.type
        self._convolve = {"cpu": self._onednn if has_onednn else self._plain, "cuda": self._cudnn}.get(
            kind, self._plain
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) in channels-last order to (N, outputs, h, w)."""
        return self._convolve(x)

    def _plain(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.weight, self.bias, padding=1)
        return x.relu_() if self.relu else x

    def _onednn(self, x: Tensor) -> Tensor:
        if x.shape not in self._laid_out:
            weight = self.weight.to_mkldnn()
            self._laid_out[x.shape] = torch._C._nn.mkldnn_reorder_conv2d_weight(
                weight, ONE, ONE, ONE, 1, list(x.shape)
            )
        after = "relu" if self.relu else "none"
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._laid_out[x.shape], self.bias, ONE, ONE, ONE, 1, after, [], ""
        )

    def _cudnn(self, x: Tensor) -> Tensor:
        if not self.relu:
            return self._plain(x)
        try:
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, ONE, ONE, ONE, 1)
        except torch.OutOfMemoryError:
            raise
        except (
            RuntimeError
        ):  # cuDNN has no such kernel for this type or GPU; the first step is never captured
            self._convolve = self._plain
            return self._plain(x)


class FusedRLSP(VideoModel):
    """:class:`rlsp.models.rlsp.RLSP` with one buffer for all that its first convolution reads.

    The buffer holds ``[frames | feedback | state | zeros]`` in channels-last order and is the carry: the new frames
    are written into it, and what the last convolution makes, so that nothing is concatenated. Pictures stay in
    [0, 255], where 8-bit frames are exact in bfloat16; another input range is folded into the weights. The residual
    is added, and the output kept, in float32.

    Parameters
    ----------
    model : RLSP
        Where the weights come from, on the device to run on; they are copied.
    dtype : torch.dtype
        Type of the convolutions: float32, bfloat16 or float16.

    Notes
    -----
    :meth:`step` gives the pictures of the model it is made from up to rounding. It changes the carry in place, and
    the memory of its output is that of the step before.
    """

    has_fixed_output = True

    def __init__(self, model: "RLSP", dtype: torch.dtype) -> None:
        super().__init__(
            scale=model.scale,
            output=model.output,
            look_behind=model.look_behind,
            look_ahead=model.look_ahead,
        )
        self.dtype, self.residual, self.packed = dtype, model.residual, model.packed
        frames = 3 * (model.look_behind + 1 + model.look_ahead)
        feedback_end = frames + (model.packed if model.feedback else 0)
        used = feedback_end + model.state_channels
        self.channels = -(-used // ALIGNMENT) * ALIGNMENT
        self.places = slice(0, frames), slice(frames, feedback_end), slice(feedback_end, used)
        self.convolutions = self._fold(model, feedback_end, self.channels - used)

    def _fold(self, model: "RLSP", pictures: int, padding: int) -> list[FusedConvolution]:
        """Copy the weights; those that read or make pictures take in the scaling to the model's input range."""
        layers = [*model.body, model.head]
        weights = [layer.weight.detach().float().clone() for layer in layers]
        biases = [layer.bias.detach().float().clone() for layer in layers]
        scaling = model.input_range / 255
        weights[0][:, :pictures] *= scaling
        weights[0] = F.pad(weights[0], (0, 0, 0, 0, 0, padding))
        weights[-1][: self.packed] /= scaling
        biases[-1][: self.packed] /= scaling
        return [
            FusedConvolution(weight.to(self.dtype), bias.to(self.dtype), relu=layer is not model.head)
            for layer, weight, bias in zip(layers, weights, biases, strict=True)
        ]

    def step(
        self, frames: Tensor, carry: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Restore one frame; see :meth:`VideoModel.step`. 8-bit frames are welcome too."""
        buffer, sr = self._start(frames) if carry is None else carry
        seen, feedback, state = self.places
        buffer[:, seen].copy_(frames.flatten(1, 2))
        x = buffer
        for convolution in self.convolutions:
            x = convolution(x)
        packed = x[:, : self.packed].float()
        if self.residual:
            packed = packed + self._base(frames[:, self.look_behind].float())
        if feedback.stop > feedback.start:
            buffer[:, feedback].copy_(packed)
        if state.stop > state.start:
            torch.clamp_min(x[:, self.packed :], 0, out=buffer[:, state])
        n, _, h, w = packed.shape
        s, c = self.scale, self.colors
        blocks = packed.reshape(n, s, s, c, h, w).permute(0, 3, 4, 1, 5, 2)  # see rlsp.models.shuffle
        sr.view(n, c, h, s, w, s).copy_(blocks)
        return sr, (buffer, sr)

    def _start(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Make the buffer, zeros before a clip, and the memory of the output."""
        n, _, _, h, w = frames.shape
        buffer = torch.zeros(n, h, w, self.channels, dtype=self.dtype, device=frames.device)
        sr = torch.empty(n, self.colors, self.scale * h, self.scale * w, device=frames.device)
        return buffer.permute(0, 3, 1, 2), sr

    def _base(self, frame: Tensor) -> Tensor:
        """Make x* of the paper from LR frames (N, 3, h, w): equal for all sub-pixels."""
        if self.output == "rgb":
            return torch.cat([frame] * self.scale**2, dim=1)
        return luma(frame)
