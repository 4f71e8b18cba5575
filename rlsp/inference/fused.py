"""RLSP as fast as it goes: the same cell on one buffer, for inference only."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rlsp.clock import GpuTimer
from rlsp.color import luma
from rlsp.devices import DTYPES, available_precisions
from rlsp.models.base import VideoModel
from rlsp.models.rlsp import RLSP

ALIGNMENT = 8  # channels; the matrix units of GPUs want multiples of 16 bytes
ONE = [1, 1]  # stride, padding and dilation of every convolution
TRIALS = 5  # runs of each kernel when the faster one is chosen


class FusedConvolution:
    """A 3x3 convolution with its bias and ReLU in one kernel, where the library has one.

    On a CPU it is oneDNN's, with the weights laid out beforehand as it likes them best. On a GPU it is cuDNN's, if at
    the first call it gives the right numbers and is faster than a convolution and a ReLU, which run elsewhere.

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
        self._kernel: str | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Map (N, inputs, h, w) in channels-last order to (N, outputs, h, w)."""
        if self._kernel is None:
            self._kernel = self._choose(x)
        kernels = {"plain": self._plain, "onednn": self._onednn, "cudnn": self._cudnn}
        return kernels[self._kernel](x)

    def _choose(self, x: Tensor) -> str:
        """Choose the kernel for tensors like this one; on a GPU by trying, before anything is recorded."""
        if x.device.type == "cpu":
            return "onednn" if _has_onednn_kernel(x.dtype) else "plain"
        if x.device.type != "cuda" or not self.relu:
            return "plain"
        plain = self._plain(x)
        # cuDNN is given uninitialised memory to add zero times of; freed, this is what it will find
        torch.full_like(plain, float("nan"))
        try:
            fused = self._cudnn(x)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # cuDNN has no such kernel for this type or GPU, or no memory to run it in
            return "plain"
        tolerance = 10 * torch.finfo(x.dtype).eps * float(plain.abs().max())
        if not float((fused.float() - plain.float()).abs().max()) <= tolerance:  # nan is no agreement either
            return "plain"
        return "cudnn" if _seconds(self._cudnn, x) < _seconds(self._plain, x) else "plain"

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
        return torch.cudnn_convolution_relu(x, self.weight, self.bias, ONE, ONE, ONE, 1)


def _has_onednn_kernel(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN has the kernel on this processor; of lower precisions not where it would convert them."""
    names = [name for name, known in DTYPES.items() if known == dtype]
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and not set(names).isdisjoint(available_precisions("cpu"))
    )


def _seconds(kernel: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Measure the time of a kernel on a GPU, the first run left out."""
    kernel(x)
    timer = GpuTimer()
    for _ in range(TRIALS):
        kernel(x)
    return timer.stop().seconds() / TRIALS


class FusedRLSP(VideoModel):
    """The cell of :class:`rlsp.models.rlsp.RLSP` with nothing concatenated and next to nothing copied.

    The first convolution reads one buffer, ``[state | feedback | frames | spare]`` in channels-last order, whose spare
    channels meet weights of zero. New frames, the feedback and the state are written into it. Pictures stay in
    [0, 255], where 8-bit frames are exact in bfloat16; another input range is folded into the weights. The residual is
    added, and the output kept, in float32.

    Parameters
    ----------
    model : RLSP
        Where the weights come from, on the device to run on; they are copied.
    dtype : torch.dtype
        Type of the convolutions: float32, bfloat16 or float16.
    is_signed : bool, optional
        Whether the last convolution makes the next buffer itself: ``[state | d | -d | spare]``, with a ReLU over all
        of it in the same kernel, after which the residual is d = max(d, 0) - max(-d, 0). It spares copies for a few
        more operations; by default so on a GPU, where a copy costs more than they do.

    Notes
    -----
    :meth:`step` gives the pictures of the model it is made from up to rounding. It changes the carry in place, and its
    output lies in the memory of the output before.
    """

    has_fixed_output = True

    def __init__(self, model: RLSP, dtype: torch.dtype, *, is_signed: bool | None = None) -> None:
        super().__init__(
            scale=model.scale,
            output=model.output,
            look_behind=model.look_behind,
            look_ahead=model.look_ahead,
        )
        self.dtype, self.residual = dtype, model.residual
        self.packed, self.state_channels = model.packed, model.state_channels
        frames = 3 * (model.look_behind + 1 + model.look_ahead)
        start = self.state_channels + (model.packed if model.feedback else 0)
        self.feedback_place = slice(self.state_channels, start)
        self.frames_place = slice(start, start + frames)
        on_gpu = model.head.weight.device.type == "cuda"
        self.is_signed = self.state_channels > 0 and (on_gpu if is_signed is None else is_signed)
        outputs = self.state_channels + 2 * self.packed if self.is_signed else 0
        self.channels = -(-max(start + frames, outputs) // ALIGNMENT) * ALIGNMENT
        self.convolutions = self._fold(model)

    def _fold(self, model: RLSP) -> list[FusedConvolution]:
        """Copy the weights, in the order of the buffer; those of pictures take in the model's input range."""
        scaling, state = model.input_range / 255, self.state_channels
        frames, feedback = (place.stop - place.start for place in (self.frames_place, self.feedback_place))
        layers = [*model.body, model.head]
        weights = [layer.weight.detach().float().clone() for layer in layers]
        biases = [layer.bias.detach().float().clone() for layer in layers]
        of_frames, of_feedback, of_state = weights[0].split([frames, feedback, state], 1)
        first = torch.cat([of_state, of_feedback * scaling, of_frames * scaling], 1)
        weights[0] = F.pad(first, (0, 0, 0, 0, 0, self.channels - first.shape[1]))
        weights[-1], biases[-1] = (
            self._reordered_head(tensor, scaling) for tensor in (weights[-1], biases[-1])
        )
        return [
            FusedConvolution(
                weight.to(self.dtype), bias.to(self.dtype), relu=layer is not model.head or self.is_signed
            )
            for layer, weight, bias in zip(layers, weights, biases, strict=True)
        ]

    def _reordered_head(self, tensor: Tensor, scaling: float) -> Tensor:
        """Bring the last layer, [d | state], into the order [state | d] or [state | d | -d | zeros]."""
        residual, state = tensor.split([self.packed, self.state_channels])
        residual = residual / scaling
        if not self.is_signed:
            return torch.cat([state, residual])
        spare = tensor.new_zeros(self.channels - self.state_channels - 2 * self.packed, *tensor.shape[1:])
        return torch.cat([state, residual, -residual, spare])

    def step(
        self, frames: Tensor, carry: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Restore one frame; see :meth:`VideoModel.step`. 8-bit frames are welcome too."""
        buffer, sr = self._start(frames) if carry is None else carry
        buffer[:, self.frames_place].copy_(frames.flatten(1, 2))
        x = buffer
        for convolution in self.convolutions:
            x = convolution(x)
        state, end = self.state_channels, self.state_channels + self.packed
        residual = x[:, state:end]
        if self.is_signed:
            residual, buffer = residual - x[:, end : end + self.packed], x
        elif state:
            torch.clamp_min(x[:, :state], 0, out=buffer[:, :state])
        packed = residual.float()
        if self.residual:
            packed = packed + self._base(frames[:, self.look_behind].float())
        if self.feedback_place.stop > self.feedback_place.start:
            buffer[:, self.feedback_place].copy_(packed)
        n, _, h, w = packed.shape
        s, c = self.scale, self.colors
        blocks = packed.reshape(n, s, s, c, h, w).permute(0, 3, 4, 1, 5, 2)  # see rlsp.models.shuffle
        sr.view(n, c, h, s, w, s).copy_(blocks)
        return sr, (buffer, sr)

    def carried(self, carry: tuple[Tensor, Tensor]) -> list[Tensor]:
        """List what a step needs of the one before: state and feedback."""
        return [carry[0][:, : self.feedback_place.stop]]

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


def fused_form(model: VideoModel, dtype: torch.dtype) -> VideoModel | None:
    """Make a faster form of a model for inference, its convolutions in `dtype`; None where there is none.

    RLSP's is :class:`FusedRLSP`; of any other class, one derived from it included, it is what the class offers itself.
    """
    return FusedRLSP(model, dtype) if type(model) is RLSP else model.fused(dtype)
