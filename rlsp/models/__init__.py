"""Video super-resolution methods, one file each, built from their catalogue entry."""

import importlib
from typing import Any

from rlsp.config.architectures import ARCHITECTURES
from rlsp.errors import ConfigError
from rlsp.models.base import VideoModel


def build_model(spec: dict[str, Any]) -> VideoModel:
    """Build a model from its catalogue entry.

    Parameters
    ----------
    spec : dict
        ``arch`` is one of :data:`~rlsp.config.architectures.ARCHITECTURES` or ``package.module:Class`` of the user's
        own; all other keys are keyword arguments of the class. What is left out has the paper's value.

    Raises
    ------
    ConfigError
        The class cannot be found, or does not take one of the keys.
    """
    arguments = dict(spec)
    arch = arguments.pop("arch", None)
    location = ARCHITECTURES.get(arch, arch)
    if not isinstance(location, str) or ":" not in location:
        expected = ", ".join(ARCHITECTURES)
        raise ConfigError(f"arch: expected one of {expected} or package.module:Class, got {arch!r}")
    module, _, name = location.partition(":")
    try:
        architecture = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"arch: cannot import {location} ({error})") from error
    if not (isinstance(architecture, type) and issubclass(architecture, VideoModel)):
        raise ConfigError(f"arch: expected a sub-class of rlsp.models.base.VideoModel, got {location}")
    try:
        return architecture(**arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model {arch}: {error}") from error
