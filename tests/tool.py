"""The scripts of ``tools/`` as modules."""

import importlib.util
import sys

from rlsp.shipped import ROOT


def load_tool(name):
    """Import a script of ``tools/``; nothing of it runs."""
    if str(ROOT / "tools") not in sys.path:
        sys.path.append(str(ROOT / "tools"))  # what they import of each other
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
