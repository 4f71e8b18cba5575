"""Ways to run a model: precision and mode."""

from dataclasses import dataclass

import torch

from rlsp.devices import DTYPES, available_precisions, is_gpu, native_precision
from rlsp.errors import ConfigError

MODES = {
    "eager-nchw": "the module as it is, in torch's own order of memory",
    "eager": "the module in channels-last order",
    "compile": "the module in channels-last order, through torch.compile",
    "fused": "the model's own form for inference, where it has one",
    "graph": "the fastest form there is, as one CUDA graph",
}


@dataclass(frozen=True)
class Execution:
    """How a model is run.

    Attributes
    ----------
    precision : {"fp32", "tf32", "bf16", "fp16"}
        Of convolutions and matrix products; pictures stay float32. tf32: float32 whose products keep 10 bits of the
        mantissa, on a GPU.
    mode : str
        One of :data:`MODES`.

    Raises
    ------
    ConfigError
        Either is unknown.
    """

    precision: str = "fp32"
    mode: str = "eager"

    def __post_init__(self) -> None:
        """Refuse names that are not known."""
        for name, value, known in (("precision", self.precision, DTYPES), ("mode", self.mode, MODES)):
            if value not in known:
                raise ConfigError(f"{name}: expected one of {', '.join(known)}, got {value!r}")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return DTYPES[self.precision]


def fastest_execution(device: str, precision: str = "fp32") -> Execution:
    """Choose how clips are restored on a device: as a CUDA graph on a GPU, in the fused form elsewhere.

    Parameters
    ----------
    device : str
        Torch device.
    precision : str
        One of :data:`rlsp.config.constants.PRECISIONS` that the device has, or "auto": bfloat16 where it multiplies in
        that, else float32.

    Raises
    ------
    ConfigError
        The device does not have the precision.
    """
    precision = native_precision(precision, device)
    if precision != "fp32" and precision not in (available := available_precisions(device)):
        raise ConfigError(f"precision: expected one of {', '.join(available)} on {device}, got {precision!r}")
    return Execution(precision, "graph" if is_gpu(device) else "fused")
