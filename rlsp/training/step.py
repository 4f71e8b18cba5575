"""One step of a training: forward, backward and the optimiser, run eagerly, compiled, or as one recorded CUDA graph."""

import contextlib
import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from rlsp.config.specs.recipes import Recipe
from rlsp.devices import is_out_of_memory, keep_compiled_code_apart, record_graph
from rlsp.errors import ConfigError
from rlsp.models.base import VideoModel
from rlsp.models.initialisation import initialise_weights
from rlsp.training.deferred import DeferredGradients
from rlsp.training.optimizers import (
    ScaledInputs,
    draw_scaled,
    load_optimizer,
    make_optimizer,
    set_learning_rate,
)

# Steps run before a graph is recorded: cuDNN and the allocator have to have settled (PyTorch's note on CUDA
# graphs takes 3, and 11 for a model spread over processes).
GRAPH_WARMUP = 3
# LR pixels of a frame's crops up to which weight gradients wait for all frames: on an H100, 7-48 in bf16, recorded,
# that is 1.45 times as fast with 16,384 and 0.92 times with 65,536. On a CPU it is slower from the start.
DEFERRED_PIXELS = 32768
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """Learning rate of one step (counted from 0): linear warm-up, then constant or half a cosine to 0."""
    warmup = round(recipe.warmup * recipe.steps)
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.learning_rate
    done = (step - warmup) / max(1, recipe.steps - warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def initialise(model: VideoModel, recipe: Recipe, seed: int) -> None:
    """Draw the first weights: ``init``, zero biases, the output scaled by ``head_scale``, ``carry_scale``."""
    initialise_weights(model, recipe.init, torch.Generator().manual_seed(seed))
    if recipe.head_scale != 1:
        try:
            model.scale_output(recipe.head_scale)
        except NotImplementedError as error:
            raise ConfigError(f"head_scale: expected 1, as {error}") from error
    draw_scaled(model, recipe.carry_scale)


class Objective(nn.Module):
    """Loss of a model on 8-bit crops, in the recipe's precision; what is compiled and what DDP wraps.

    Parameters
    ----------
    model : VideoModel
        The model; its weights stay float32.
    precision : {"fp32", "bf16"}
        "bf16": convolutions under autocast. Models add their residual and take their loss in float32.
    """

    def __init__(self, model: VideoModel, precision: str) -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Mean squared error in squared grey levels of uint8 crops ``(N, T, 3, h, w)`` and ``(N, T, 3, H, W)``."""
        with torch.autocast(lr.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model.loss(lr.float(), hr.float())


class TrainingStep:
    """A model, its optimiser and its moving average: call it with a batch to do one step.

    Parameters
    ----------
    model : VideoModel
        The model, on its device.
    recipe : Recipe
        How it is trained; its ``precision`` is an exact one.
    processes : int
        Processes that share the batch; above 1 their gradients are averaged (DDP).

    Raises
    ------
    ConfigError
        A CUDA graph was asked for with several processes, or the model normalises over the batch that they share.
    """

    def __init__(self, model: VideoModel, recipe: Recipe, processes: int = 1) -> None:
        self.model, self.recipe = model, recipe
        self.device = next(model.parameters()).device
        on_gpu = self.device.type == "cuda"
        self.is_graph = recipe.execution == "graph" and on_gpu
        if self.is_graph and processes > 1:
            raise ConfigError("execution: expected eager or compile with several processes, got graph")
        if processes > 1 and any(isinstance(module, BATCH_NORMS) for module in model.modules()):
            raise ConfigError(
                f"processes: expected 1, as {type(model).__name__} normalises over the batch, got {processes}"
            )
        self._loss = objective = Objective(model, recipe.precision)
        if processes > 1:
            objective = DistributedDataParallel(objective, device_ids=[self.device] if on_gpu else None)
        if recipe.execution == "compile":
            keep_compiled_code_apart()
            objective = torch.compile(objective)
        self.objective: nn.Module = objective
        self.scaled = ScaledInputs(model, self.recipe.carry_scale)
        self.parameters = self.scaled.parameters(model)
        self.optimizer = make_optimizer(self.parameters, self.recipe, is_recorded=self.is_graph)
        # of the two only Adam can be recorded with the rest of a step
        self._is_recorded_whole = self.is_graph and self.recipe.optimizer == "adam"
        self.average = MovingAverage(model, recipe.ema) if recipe.ema is not None else None
        # Fewer and larger kernels have to pay for the copies; DDP and torch.compile have ways of their own.
        is_deferred = on_gpu and processes == 1 and recipe.execution != "compile"
        is_deferred = is_deferred and recipe.batch * recipe.crop**2 <= DEFERRED_PIXELS
        self._convolutions: Any = DeferredGradients(model) if is_deferred else contextlib.nullcontext()
        self._graphs: dict[tuple[torch.Size, torch.Size], _RecordedStep] = {}

    @property
    def precision(self) -> str:
        """What the convolutions are computed in."""
        return self._loss.precision

    @precision.setter
    def precision(self, precision: str) -> None:
        self._loss.precision = precision

    @property
    def result(self) -> VideoModel:
        """The model to measure and keep: the moving average where the recipe has one."""
        return self.average.model if self.average is not None else self.model

    def __call__(self, lr: Tensor, hr: Tensor, learning_rate: float) -> Tensor:
        """Do one step; returns the mean squared error in squared grey levels, not synchronised.

        Parameters
        ----------
        lr, hr : Tensor, shape (N, T, 3, h, w) and (N, T, 3, scale * h, scale * w), uint8
            A batch on any device.
        learning_rate : float
            The optimiser's rate for this step.
        """
        lr, hr = (part.to(self.device, non_blocking=True) for part in (lr, hr))
        set_learning_rate(self.optimizer, learning_rate)
        mse = self._replay(lr, hr) if self.is_graph else self.work(lr, hr)
        if not self._is_recorded_whole:
            self._update()
        if self.average is not None:
            self.average.update(self.model)
        return mse

    def work(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Forward, backward and, where it can be recorded too, the update of the weights."""
        self.model.zero_grad(set_to_none=not self.is_graph)
        with self._convolutions as convolutions:
            mse = self.objective(lr, hr)
        # The loss is taken in the units of input_range, which is what clip_norm refers to.
        loss = mse * (self.recipe.input_range / 255) ** 2
        if convolutions is not None:
            convolutions.backward(loss)
        else:
            loss.backward()
        self.scaled.take_gradient()
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        if self._is_recorded_whole:
            self._update()
        return mse.detach()

    def _update(self) -> None:
        self.optimizer.step()
        self.scaled.give_weights()

    def _replay(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Replay the graph recorded for batches of this shape; the first few of them run eagerly."""
        key = (lr.shape, hr.shape)
        if key not in self._graphs:  # shapes change once, late: the memory of the first graph is given back
            self._graphs = {key: _RecordedStep(self)}
        return self._graphs[key](lr, hr)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed training needs of the model, the optimiser and the average."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "scaled": self.scaled.state_dict(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.model.load_state_dict(saved["model"])
        self.scaled.load_state_dict(saved.get("scaled"))  # checkpoints of earlier versions have none
        load_optimizer(self.optimizer, saved["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])


class MovingAverage:
    """Exponential moving average of a model's weights and buffers, without a wait for the GPU.

    Parameters
    ----------
    model : VideoModel
        The model; its average begins with the weights after the first step.
    decay : float
        Weight of the average so far, for each step.
    """

    def __init__(self, model: VideoModel, decay: float) -> None:
        self.model, self.count = copy.deepcopy(model).requires_grad_(False), 0
        self._mix = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self, model: VideoModel) -> None:
        """Take in the weights of one more step; whole numbers, such as counters, are copied."""
        means, values = [], []
        for mean, value in zip(self._tensors(self.model), self._tensors(model), strict=True):
            if self.count == 0 or not mean.is_floating_point():
                mean.copy_(value)
            else:
                means.append(mean)
                values.append(value)
        if means:
            self._mix(means, values, None)
        self.count += 1

    @staticmethod
    def _tensors(model: VideoModel) -> list[Tensor]:
        return [*(parameter.detach() for parameter in model.parameters()), *model.buffers()]

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed training needs of the average."""
        return {"model": self.model.state_dict(), "count": self.count}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.model.load_state_dict(saved["model"])
        self.count = saved["count"]


class _RecordedStep:
    """One step recorded as a CUDA graph, for batches of one shape: no launch of single kernels any more."""

    def __init__(self, step: TrainingStep) -> None:
        self.step, self.done = step, 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.stream = torch.cuda.Stream()  # a graph may not be recorded on the default stream

    def __call__(self, lr: Tensor, hr: Tensor) -> Tensor:
        if self.graph is None and self.done < GRAPH_WARMUP:
            self.done += 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                mse = self.step.work(lr, hr)
            torch.cuda.current_stream().wait_stream(self.stream)
            return mse
        if self.graph is None:
            self.record(lr, hr)
        self.lr.copy_(lr, non_blocking=True)
        self.hr.copy_(hr, non_blocking=True)
        self.graph.replay()
        return self.mse.clone()

    def record(self, lr: Tensor, hr: Tensor) -> None:
        """Record the step on copies of the batch, whose memory later batches are copied to.

        Raises
        ------
        ConfigError
            The step does what no graph can hold, such as waiting for the GPU.
        """
        self.lr, self.hr = lr.clone(), hr.clone()
        try:
            self.graph, self.mse = record_graph(lambda: self.step.work(self.lr, self.hr), self.stream)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            reason = str(error).strip().split("\n")[0]
            raise ConfigError(
                f"execution: expected eager or compile for this model, a graph cannot be recorded ({reason})"
            ) from error
