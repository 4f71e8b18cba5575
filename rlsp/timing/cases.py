"""What is timed: models, and the ways they are run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from rlsp.config.constants import FRAME_SIZES
from rlsp.config.specs.models import Model
from rlsp.config.specs.study import Runtime
from rlsp.devices import available_precisions, is_gpu
from rlsp.inference.execution import Execution
from rlsp.inference.fused import fused_form
from rlsp.models import build_model
from rlsp.models.base import VideoModel
from rlsp.models.initialisation import WEIGHTED

GRID_BATCHES = (1, 4)  # one frame at a time is the online case; several clips at once give throughput


def lr_sizes(timing: Runtime, device: str) -> list[tuple[int, int]]:
    """List the LR sizes to time, height and width in pixels, the headline's first."""
    if timing.sizes != "auto":
        return [FRAME_SIZES[size] if isinstance(size, str) else size for size in timing.sizes]
    headline = "full-hd" if is_gpu(device) else "360p"
    names = dict.fromkeys([headline, *FRAME_SIZES] if timing.grid else [headline])
    return [FRAME_SIZES[name] for name in names]


@dataclass(frozen=True)
class Case:
    """A model, and the way it is run.

    Attributes
    ----------
    model : str
        Its name.
    spec : Model
        Its spec.
    execution : Execution
        Precision and mode.
    lr_size : tuple of int
        Height and width of the LR frames, in pixels.
    boundary : {"network", "rgb8"}
        Float tensors on the device in and out, or 8-bit RGB in and out, the chroma of luma models included.
    batch : int
        Clips that advance together.
    clip_length : int, optional
        A sample is a clip of so many frames; by default one frame of an endless clip.
    """

    model: str
    spec: Model
    execution: Execution
    lr_size: tuple[int, int]
    boundary: str = "network"
    batch: int = 1
    clip_length: int | None = None


def list_cases(specs: Mapping[str, Model], timing: Runtime, device: str) -> list[Case]:
    """List what is timed: the headline's cases, or the full grid.

    The headline runs every model at the first size, frame by frame, as plain code in the precisions of the device
    and in the fastest way there is; the latter from 8-bit to 8-bit pictures as well.

    Parameters
    ----------
    specs : mapping of str to Model
        The models by name.
    timing : Runtime
        Sizes, and whether the grid is wanted.
    device : str
        Torch device.
    """
    precisions, on_gpu = available_precisions(device), is_gpu(device)
    sizes = lr_sizes(timing, device)
    cases = []
    for model, spec in specs.items():
        ways = _ways(build_model(spec), precisions, on_gpu=on_gpu, is_grid=timing.grid)
        of_model = [Case(model, spec, way, size) for size in sizes for way in ways]
        colored = ways if timing.grid else ways[-1:]
        of_model += [Case(model, spec, way, size, "rgb8") for size in sizes for way in colored]
        batches = GRID_BATCHES if timing.grid else GRID_BATCHES[:1]
        cases += [replace(case, batch=batch) for batch in batches for case in of_model]
    return cases


def _ways(model: VideoModel, precisions: list[str], *, on_gpu: bool, is_grid: bool) -> list[Execution]:
    """List how a model is run, the fastest way last."""
    weights = [module.weight for module in model.modules() if isinstance(module, WEIGHTED)]
    if not weights:  # interpolation: there is nothing to multiply in another precision
        return [Execution("fp32", "eager")]
    has_fused = fused_form(model, torch.float32) is not None
    best = "graph" if on_gpu else "fused" if has_fused else "eager"
    low = [precision for precision in ("bf16", "fp16") if precision in precisions]
    if is_grid:
        modes = ["eager", "compile", *(["fused"] if has_fused else []), *(["graph"] if on_gpu else [])]
        ways = [Execution(precision, mode) for precision in precisions for mode in modes]
    else:
        ways = [Execution("fp32", "eager")]
        ways += [Execution("tf32", "eager")] if "tf32" in precisions else []
        ways += [Execution("fp32", "fused")] if has_fused and not on_gpu else []
        ways += [Execution(low[0], "eager")] if low else []
        ways += [Execution(precision, best) for precision in low]
    if any(weight.ndim == 4 for weight in weights):  # those of 3D convolutions have one layout only
        plain = precisions if is_grid else ["fp32"]
        ways = [*(Execution(precision, "eager-nchw") for precision in plain), *ways]
    fastest = Execution(low[0] if low else "fp32", best)
    return [*(way for way in dict.fromkeys(ways) if way != fastest), fastest]
