"""Weight gradients of a recurrent network, one large convolution a layer instead of one for each frame.

A recurrent network calls each of its convolutions once a frame. Autograd computes the gradient of the weights at
every call and adds them up: many small kernels, in low precision with a rounding for each. Here the backward pass
computes the gradients of the inputs only and keeps what the others need; when it is over, each layer's weight
gradient is one convolution over all frames. The gradients are the same but for the order of the sum.
"""

from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ALIGNED = 8  # channels: what tensor cores want a multiple of, in 16 bits


class DeferredGradients:
    """Takes a model's 2D convolutions over while its loss is computed; then :meth:`backward`.

    Parameters
    ----------
    model : nn.Module
        The model; its convolutions with zero padding are taken over, everything else stays.

    Examples
    --------
    >>> with DeferredGradients(model) as deferred:  # doctest: +SKIP
    ...     loss = model.loss(lr, hr)
    >>> deferred.backward(loss)  # doctest: +SKIP
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = [
            module
            for module in model.modules()
            if type(module) is nn.Conv2d and module.padding_mode == "zeros" and module.weight.requires_grad
        ]
        self.layers: list[_Layer] = []

    def __enter__(self) -> "DeferredGradients":
        """Take the convolutions over."""
        self.layers = [_Layer(module) for module in self.modules]
        for module, layer in zip(self.modules, self.layers, strict=True):
            module.forward = layer  # type: ignore[method-assign]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the convolutions back."""
        for module in self.modules:
            del module.forward

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss to those of the model's parameters."""
        loss.backward()
        pairs = [pair for layer in self.layers for pair in layer.gradients()]
        if pairs:  # of weights that are computed themselves too, such as scaled ones
            torch.autograd.backward([value for value, _ in pairs], [gradient for _, gradient in pairs])


class _Layer:
    """One convolution for the calls of one step."""

    def __init__(self, module: nn.Conv2d) -> None:
        self.weight, self.bias = module.weight, module.bias
        self.geometry = (module.stride, module.padding, module.dilation, module.groups)
        self.calls: list[tuple[Tensor, Tensor]] = []
        self._used: tuple[Tensor, Tensor | None] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self._cast(x)
        if missing := weight.shape[1] * self.geometry[3] - x.shape[1]:
            x = F.pad(x, (0, 0, 0, 0, 0, missing))
        return _Convolution.apply(x.to(weight.dtype), self.weight, self.bias, weight, bias, self)

    def _cast(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Weights in the precision of this step, once for all calls, with as many inputs as the device likes."""
        if self._used is None:
            weight, bias = self.weight.detach(), self.bias.detach() if self.bias is not None else None
            if torch.is_autocast_enabled(x.device.type):
                dtype = torch.get_autocast_dtype(x.device.type)
                weight, bias = weight.to(dtype), bias.to(dtype) if bias is not None else None
                missing = -weight.shape[1] % ALIGNED if x.is_cuda and self.geometry[3] == 1 else 0
                if missing:
                    weight = F.pad(weight, (0, 0, 0, 0, 0, missing))
                    weight = weight.contiguous(memory_format=torch.channels_last)
            self._used = weight, bias
        return self._used

    def gradients(self) -> list[tuple[Tensor, Tensor]]:
        """Pairs of the weight, and of the bias if there is one, with their gradients over all calls."""
        if not self.calls:
            return []
        inputs, outputs = (torch.cat(parts) for parts in zip(*self.calls, strict=True))
        self.calls.clear()
        weight, _ = self._used
        _, of_weight, of_bias = _convolution_backward(
            outputs, inputs, weight, self.geometry, [False, True, self.bias is not None]
        )
        of_weight = of_weight[:, : self.weight.shape[1]].to(self.weight.dtype)
        pairs = [(self.weight, of_weight)]
        return pairs if self.bias is None else [*pairs, (self.bias, of_bias.to(self.bias.dtype))]


class _Convolution(torch.autograd.Function):
    """A convolution whose backward pass leaves the weight's gradient for later."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        _weight: Tensor,
        _bias: Tensor | None,
        used: Tensor,
        bias: Tensor | None,
        layer: _Layer,
    ) -> Tensor:
        """Convolve with `used`, the weights in the precision of the step; the others connect the graph."""
        ctx.save_for_backward(x, used)
        ctx.layer = layer
        stride, padding, dilation, groups = layer.geometry
        return F.conv2d(x, used, bias, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None, None, None]:
        """Return the gradient of the input; keep what that of the weight needs."""
        x, used = ctx.saved_tensors
        ctx.layer.calls.append((x, gradient))
        of_input = None
        if ctx.needs_input_grad[0]:
            of_input = _convolution_backward(gradient, x, used, ctx.layer.geometry, [True, False, False])[0]
        return of_input, None, None, None, None, None


def _convolution_backward(
    gradient: Tensor, x: Tensor, weight: Tensor, geometry: tuple, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Call PyTorch's own backward pass of a convolution for some of input, weight and bias."""
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, [weight.shape[0]], stride, padding, dilation, False, [0, 0], groups, wanted
    )
