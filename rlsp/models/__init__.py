"""Video super-resolution methods, one file each, built from their catalogue entry."""

import math
from collections.abc import Mapping
from typing import Any

from rlsp.config.specs.models import BUILT, Model, parse_model
from rlsp.errors import ConfigError
from rlsp.models.base import VideoModel
from rlsp.own_code import import_own


def build_model(spec: Mapping[str, Any] | Model) -> VideoModel:
    """Build a model from its spec.

    Parameters
    ----------
    spec : Model or mapping
        The spec or its plain form: ``arch`` is one of :data:`~rlsp.config.specs.models.BUILT` or
        ``package.module:Class`` of the user's own; all other keys are keyword arguments of the class. What is left
        out has the default of the spec, which is the paper's value.

    Raises
    ------
    ConfigError
        A key or value is wrong, or the class cannot be found or does not take one of the keys.
    """
    arch = spec.arch if isinstance(spec, Model) else spec.get("arch")
    if not isinstance(arch, str) or (arch not in BUILT and ":" not in arch):
        raise ConfigError(f"arch: expected one of {', '.join(BUILT)} or package.module:Class, got {arch!r}")
    model = parse_model(spec)
    location = model.location
    architecture = import_own(location, "arch")
    if not (isinstance(architecture, type) and issubclass(architecture, VideoModel)):
        raise ConfigError(f"arch: expected a sub-class of rlsp.models.base.VideoModel, got {location}")
    try:
        built = architecture(**model.arguments())
        if not 0 < built.input_range < math.inf:
            raise ValueError(f"input_range: expected a finite number above 0, got {built.input_range}")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {arch}: {error}") from error
    return built
