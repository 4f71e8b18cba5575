"""The scripts of ``tools/`` as modules."""

import importlib.util

from rlsp.shipped import ROOT


def load_tool(name):
    """Import a script of ``tools/``; nothing of it runs."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
