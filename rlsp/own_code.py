"""Code of the user's own that a study names as ``package.module:name``: a model, a measure, a degradation."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlsp.errors import ConfigError


def modules_of(*locations: str) -> list[str]:
    """List the modules of ``package.module:name``, once each, as :func:`rlsp.provenance.code_hash` takes them."""
    return sorted({location.partition(":")[0] for location in locations})


def import_own(location: str, where: str) -> Any:
    """Import what a study names, from the working folder or from wherever Python finds it.

    Parameters
    ----------
    location : str
        ``package.module:name``.
    where : str
        The key that names it, such as ``metrics.sharpness.function``.

    Raises
    ------
    ConfigError
        One line with the key: there is no such module, it does not have the name, or it cannot be imported.
    """
    _look_in_working_folder()
    module, _, name = location.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise ConfigError(f"{where}: cannot import {location} ({error})") from error


def import_function(location: str, where: str, names: Iterable[str], *, positional: int = 0) -> Any:
    """Import a function that a study names; see :func:`import_own`.

    Parameters
    ----------
    location, where : str
        As there.
    names : iterable of str
        What it will be given by name.
    positional : int
        How many arguments it will be given before these.

    Raises
    ------
    ConfigError
        One line with the key: it cannot be imported or called, or does not take these arguments.
    """
    function = import_own(location, where)
    if not callable(function):
        raise ConfigError(f"{where}: expected a function, got {location} of type {type(function).__name__}")
    try:
        inspect.signature(function).bind(*[None] * positional, **dict.fromkeys(names))
    except ValueError:  # of a function in C, which does not tell what it takes
        pass
    except TypeError as error:
        raise ConfigError(f"{where}: {location}: {error}") from None
    return function


def find_own(module: str) -> Path | None:
    """Find the file of a module; packages that it lies in are imported, it is not."""
    _look_in_working_folder()
    try:
        found = find_spec(module)
    except Exception:  # of a package of the user's: what is wrong is said when the module is imported
        return None
    return Path(found.origin) if found and found.origin and found.origin.endswith(".py") else None


def _look_in_working_folder() -> None:
    """Let imports see the working folder, after all else, whatever started this process."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
