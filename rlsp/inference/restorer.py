"""Restore clips frame by frame with a model, in a chosen precision and mode."""

import copy
import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from rlsp.devices import (
    is_gpu,
    is_out_of_memory,
    keep_compiled_code_apart,
    matrix_precision,
    record_graph,
)
from rlsp.errors import DataError
from rlsp.inference.chroma import PictureMaker
from rlsp.inference.execution import Execution, fastest_execution
from rlsp.inference.fused import fused_form
from rlsp.models.base import VideoModel
from rlsp.models.initialisation import WEIGHTED

GRAPH_WARMUP = 3  # steps before the recorded one, in which libraries choose kernels and take their memory


class Restorer:
    """One model on one device that restores clips frame by frame, in memory that does not grow with their length.

    It does one clip at a time: the state of a clip is gone when the next one begins.

    Parameters
    ----------
    model : VideoModel
        In evaluation mode. It is moved to the device; with a precision below float32 a copy is run instead.
    device : str
        Torch device.
    execution : Execution, optional
        Precision and mode; by default float32 in the fastest mode of the device. A model without a fused form runs as
        it is.
    """

    def __init__(self, model: VideoModel, *, device: str = "cpu", execution: Execution | None = None) -> None:
        self.execution = execution or fastest_execution(device)
        self.device = device
        self.model = self._prepare(model)
        self._phase: float | None = None
        self._pictures: PictureMaker | None = None
        self._is_autocast = self.execution.dtype != torch.float32 and not self.model.has_fixed_output
        self._advance = self.model.step
        if self.execution.mode == "compile":
            keep_compiled_code_apart()
            self._advance = torch.compile(_with_own_code(self.model.step), dynamic=False, fullgraph=True)
        self._carry: Any = None
        self._recorded: _RecordedFrame | None = None
        self._is_recordable = self.execution.mode == "graph"
        self._sr: Tensor | None = None

    def _prepare(self, model: VideoModel) -> VideoModel:
        """Bring the model into the form that runs."""
        is_plain = self.execution.mode == "eager-nchw"
        layout = torch.contiguous_format if is_plain else torch.channels_last
        model = model.to(self.device, memory_format=layout)
        if self.execution.mode in ("fused", "graph"):
            fused = fused_form(model, self.execution.dtype)
            if fused is not None:
                return fused.eval()
        if self.execution.dtype == torch.float32:
            return model
        lower = copy.deepcopy(model)  # cast once; autocast would cast the weights anew for every frame
        for module in lower.modules():
            if isinstance(module, WEIGHTED):
                module.to(self.execution.dtype)
        return lower

    def frames(self, clip: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Restore a clip, ``look_ahead`` frames behind the input (one more on a GPU).

        Parameters
        ----------
        clip : iterable of ndarray, shape (h, w, 3), uint8
            LR frames, RGB.

        Yields
        ------
        ndarray, shape (scale * h, scale * w) or (scale * h, scale * w, 3), float32
            Luma of a "y" model (16..235 in range, not rounded), RGB (0..255) of an "rgb" model.
        """
        self.start()
        for (sr,) in to_host(map(self.step, self._windows(clip)), self.device):
            yield sr[0, 0].numpy() if self.model.output == "y" else sr[0].permute(1, 2, 0).numpy()

    def pictures(
        self, clip: Iterable[np.ndarray], phase: float, *, name: str = "the clip"
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Restore a clip to 8-bit pictures, made on the device; otherwise as :meth:`frames`.

        Parameters
        ----------
        clip : iterable of ndarray, shape (h, w, 3), uint8
            LR frames, RGB.
        phase : float
            HR coordinate of the centre of LR pixel 0, for the chroma of a luma model.
        name : str
            Clip or file that errors name.

        Yields
        ------
        rgb : ndarray, shape (scale * h, scale * w, 3), uint8
        y : ndarray, shape (scale * h, scale * w), uint8, or None
            The luma that a "y" model put out.

        Raises
        ------
        DataError
            The model put out what is no finite number: 8 bits would hide it.
        """
        self.start(phase)
        frames = to_host(map(self._next, self._windows(clip)), self.device)
        for number, (rgb, *y, total) in enumerate(frames):
            if not math.isfinite(total):
                raise DataError(
                    f"{name}: frame {number}: expected finite numbers from the network in {self.execution.precision}, "
                    "got nan or inf"
                )
            yield rgb[0].numpy(), y[0][0].numpy() if y else None

    def _windows(self, clip: Iterable[np.ndarray]) -> Iterator[Tensor]:
        """Upload frames as 8 bits, and slide over them: (1, look_behind + 1 + look_ahead, 3, h, w) for each."""
        model = self.model
        window: deque[Tensor] = deque(maxlen=model.look_behind + 1 + model.look_ahead)
        last = None
        for frame in clip:
            last = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None]
            if is_gpu(self.device):
                last = last.pin_memory().to(self.device, non_blocking=True)
            if not window:
                window.extend([model.missing_neighbour(last)] * model.look_behind)
            window.append(last)
            if len(window) == window.maxlen:
                yield torch.stack(tuple(window), dim=1)
        for _ in range(model.look_ahead if last is not None else 0):
            window.append(model.missing_neighbour(last))
            if len(window) == window.maxlen:
                yield torch.stack(tuple(window), dim=1)

    def start(self, phase: float | None = None) -> None:
        """Begin a clip: steps return what the model puts out or, with a phase, 8-bit pictures."""
        self._carry = None
        if phase != self._phase:
            self._phase, self._pictures, self._recorded = phase, None, None
            if phase is not None:
                self._pictures = PictureMaker(scale=self.model.scale, phase=phase, device=self.device)

    def step(self, window: Tensor) -> tuple[Tensor, ...]:
        """Restore the next frame of the clip; nothing waits for the device, and the next step overwrites the result.

        Parameters
        ----------
        window : Tensor, shape (N, look_behind + 1 + look_ahead, 3, h, w)
            LR neighbours in order of time, in [0, 255], 8-bit or float32, on the device.

        Returns
        -------
        tuple of Tensor
            The output (N, colors, scale * h, scale * w), float32. After :meth:`start` with a phase: the RGB picture
            (N, scale * h, scale * w, 3) and, of a luma model, the luma (N, scale * h, scale * w), both uint8.
        """
        outputs = self._next(window)
        return outputs if self._pictures is None else outputs[:-1]

    @torch.inference_mode()
    def _next(self, window: Tensor) -> tuple[Tensor, ...]:
        """Restore the next frame; after the pictures comes the sum of the output, which tells whether it is finite."""
        if self._carry is None or not self._is_recordable:
            outputs, self._carry = self.compute(window, self._carry)
            return outputs
        if self._recorded is None or not self._recorded.fits(window):
            self._recorded = None  # its memory is free before the next one takes some
            self._recorded = self._record(window)
            if self._recorded is None:
                return self._next(window)
        outputs, self._carry = self._recorded(window, self._carry)
        return outputs

    def compute(self, window: Tensor, carry: Any) -> tuple[tuple[Tensor, ...], Any]:
        """Restore one frame without a graph; returns what :meth:`_next` does, and the carry."""
        with ExitStack() as contexts:
            contexts.enter_context(matrix_precision(self.execution.precision))
            if self._is_autocast:
                kind = torch.device(self.device).type
                contexts.enter_context(torch.autocast(kind, self.execution.dtype, cache_enabled=False))
            frames = window if self.model.has_fixed_output else window.float()
            # the first frame of a clip has another carry, and is not worth compiling for
            advance = self.model.step if carry is None else self._advance
            sr, carry = advance(frames, carry)
        return self._finish(sr, window), carry

    def _finish(self, sr: Tensor, window: Tensor) -> tuple[Tensor, ...]:
        """Put the output where it always is, or make pictures of it."""
        if self._pictures is not None:
            rgb = self._pictures.rgb(sr, window[:, self.model.look_behind])
            luma = (self._pictures.rounded(sr[:, 0]),) if self.model.output == "y" else ()
            return (rgb, *luma, sr.sum(dtype=torch.float32))  # one pass, and nothing waits for it
        if self.model.has_fixed_output:
            return (sr,)
        if self._sr is None or self._sr.shape != sr.shape:
            self._sr = torch.empty_like(sr, memory_format=torch.contiguous_format)
        return (self._sr.copy_(sr),)

    def _record(self, window: Tensor) -> "_RecordedFrame | None":
        """Record a step; a model that cannot be recorded runs without, and that is said once."""
        try:
            return _RecordedFrame(self.compute, window, self._carry)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._is_recordable = False
            reason = str(error).strip().split("\n")[0]
            print(
                f"{type(self.model).__name__}: no CUDA graph of it ({reason}); running without",
                file=sys.stderr,
            )
            return None

    @property
    def carry(self) -> Any:
        """What the next step starts from; None before a clip."""
        return self._carry

    @property
    def is_recorded(self) -> bool:
        """Whether steps replay a CUDA graph."""
        return self._recorded is not None


def _with_own_code(method: MethodType) -> MethodType:
    """Copy a method's code object, of which Dynamo compiles a few versions only before it gives up.

    Each restorer has its own, so that many models can be compiled in one process.
    """
    plain = method.__func__
    own = FunctionType(
        plain.__code__.replace(), plain.__globals__, plain.__name__, plain.__defaults__, plain.__closure__
    )
    own.__kwdefaults__ = plain.__kwdefaults__
    return MethodType(own, method.__self__)


class _RecordedFrame:
    """A step recorded as a CUDA graph on memory of its own, which windows and a new clip's carry are copied to."""

    def __init__(self, compute: Any, window: Tensor, carry: Any) -> None:
        self.window = window.clone()
        self.held = pytree.tree_map(_cloned, carry)
        stream = _recording_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            spare = pytree.tree_map(_cloned, carry)  # a step may change its carry in place
            for _ in range(GRAPH_WARMUP):
                _, spare = compute(self.window, spare)
            with _no_waiting():  # what waits for the device is found before it would spoil a graph
                compute(self.window, spare)
        torch.cuda.current_stream().wait_stream(stream)

        def work() -> tuple[Tensor, ...]:
            outputs, after = compute(self.window, self.held)
            carry_over(after, self.held)
            return outputs

        self.graph, self.outputs = record_graph(work, stream)

    def fits(self, window: Tensor) -> bool:
        """Whether frames of this size and type are those that were recorded."""
        return window.shape == self.window.shape and window.dtype == self.window.dtype

    def __call__(self, window: Tensor, carry: Any) -> tuple[tuple[Tensor, ...], Any]:
        self.window.copy_(window, non_blocking=True)
        carry_over(carry, self.held)  # of the second frame of a clip; later it is the recorded one
        self.graph.replay()
        return self.outputs, self.held


@cache
def _recording_stream() -> torch.cuda.Stream:
    """Return the one stream that graphs are recorded on; libraries keep memory for each stream."""
    return torch.cuda.Stream()


@contextmanager
def _no_waiting() -> Iterator[None]:
    """Refuse operations that wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def _cloned(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def carry_over(after: Any, held: Any) -> None:
    """Copy a carry into the memory of another of the same structure, in whatever order its tensors share memory."""
    pairs = [
        (new, old)
        for new, old in zip(pytree.tree_leaves(after), pytree.tree_leaves(held), strict=True)
        if isinstance(new, Tensor) and new is not old
    ]
    taken = {old.untyped_storage().data_ptr() for _, old in pairs}
    sources = [new.clone() if new.untyped_storage().data_ptr() in taken else new for new, _ in pairs]
    for source, (_, old) in zip(sources, pairs, strict=True):
        old.copy_(source)


def to_host(batches: Iterable[tuple[Tensor, ...]], device: str) -> Iterator[tuple[Tensor, ...]]:
    """Bring outputs to the CPU, each while the device is at work on the next one.

    Parameters
    ----------
    batches : iterable of tuple of Tensor
        Outputs on the device that the next ones may overwrite.
    device : str
        Torch device. On a CPU the outputs are copied.

    Yields
    ------
    tuple of Tensor
        In memory that is not used again.
    """
    if not is_gpu(device):
        for outputs in batches:
            yield tuple(output.clone() for output in outputs)
        return
    waiting: deque[tuple[tuple[Tensor, ...], torch.cuda.Event]] = deque()
    for outputs in batches:
        copies = tuple(torch.empty(o.shape, dtype=o.dtype, pin_memory=True) for o in outputs)
        for host, output in zip(copies, outputs, strict=True):
            host.copy_(output, non_blocking=True)
        done = torch.cuda.Event()
        done.record()
        waiting.append((copies, done))
        if len(waiting) > 1:
            yield _waited(*waiting.popleft())
    while waiting:
        yield _waited(*waiting.popleft())


def _waited(copies: tuple[Tensor, ...], done: torch.cuda.Event) -> tuple[Tensor, ...]:
    done.synchronize()
    return copies
