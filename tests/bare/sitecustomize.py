"""Hide what a bare GPU machine lacks; Python imports this first where its folder is on PYTHONPATH."""

import sys
from importlib.machinery import PathFinder

ABSENT = {
    *(
        "av",
        "requests",
        "remotezip",
        "scenedetect",
        "snakemake",
        "papermill",
        "nbconvert",
        "nbclient",
        "nbformat",
        "ipykernel",
        "jupyterlab",
    ),
    *("pynvml", "seaborn", "tabulate"),
}


class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
