"""Which checkpoints the authors released and what they hold; told without torch, for planning."""

from typing import Any

from rlsp.config.specs.fields import quoted
from rlsp.errors import ConfigError

# Prefixes in the authors' folder evaluate/checkpoints; "rslp" is spelled so there.
CHECKPOINTS = {"7-48": "ckpt_rslp_48", "7-64": "ckpt_rlsp_64", "7-128": "ckpt_rlsp_128"}

SOURCE = "github.com/dariofuoli/RLSP at f59696c11b40b06db53d49cc97a422203879120b"
LICENCE = "CC BY-NC-SA 4.0, for academic research only"


def checkpoint_facts(name: str) -> dict[str, Any]:
    """Say where a released checkpoint lies and what it holds.

    Parameters
    ----------
    name : str
        Name in the paper, one of :data:`CHECKPOINTS`, such as ``"7-64"``.

    Returns
    -------
    dict
        ``download`` (name of the catalogue entry), ``prefix`` (below the download's folder), and ``spec``,
        ``source`` and ``licence`` as :func:`rlsp.released.conversion.convert_checkpoint` takes them.

    Raises
    ------
    ConfigError
        There is no such checkpoint.
    """
    if name not in CHECKPOINTS:
        raise ConfigError(
            f"weights: expected one of {', '.join(CHECKPOINTS)} after released:, got {quoted(name)}"
        )
    layers, filters = (int(number) for number in name.split("-"))
    return {
        "download": "rlsp-checkpoints",
        "prefix": f"evaluate/checkpoints/{CHECKPOINTS[name]}",
        "spec": {"arch": "rlsp", "layers": layers, "filters": filters, "output": "y"},
        "source": SOURCE,
        "licence": LICENCE,
    }
