"""The paper study, with stand-ins for the names that the catalogue does not define."""

import copy
from typing import Any

import yaml

from rlsp.config import ROOT, merge, read_config, read_schema

TEST_CLIPS = ("000", "011", "015", "020")  # REDS4, of the training part of REDS


def frames_standin(download: str, clips: dict[str, str], frames: int = 100) -> dict[str, Any]:
    """Data set of clips {name: folder} out of one download."""
    return {
        "source": "frames",
        "download": download,
        "clips": {name: {"prefix": f"{folder}/", "frames": frames} for name, folder in clips.items()},
    }


def standins() -> dict[str, Any]:
    """Entries for what the paper study names, of the sizes of the real ones."""
    train = {f"{n:03d}": f"train/train_sharp/{n:03d}" for n in range(240)}
    files = {"kind": "files", "manifest": "vid4_gt", "include": ["inputs/G/"], "licence": "CC BY 4.0"}
    return {
        "downloads": {"reds-train-standin": files, "reds-val-standin": dict(files)},
        "datasets": {
            "reds-train": frames_standin(
                "reds-train-standin", {name: train[name] for name in train if name not in TEST_CLIPS}
            ),
            "reds4": frames_standin("reds-train-standin", {name: train[name] for name in TEST_CLIPS}),
            "reds-val": frames_standin(
                "reds-val-standin", {f"{n:03d}": f"val/val_sharp/{n:03d}" for n in range(30)}
            ),
        },
        "models": {
            name: {"arch": "rlsp", "filters": filters}
            for filters, name in enumerate(("frvsr-10-128", "duf-16l", "duf-28l", "duf-52l"), start=90)
        },
        "recipes": {"frvsr": {"steps": 400000}, "duf": {"steps": 300000}},
    }


def paper_config() -> dict[str, Any]:
    """Read the paper study with the catalogue; what only other versions of the schema know is left out."""
    config = read_config(ROOT / "config" / "paper.yaml")
    for section, entries in standins().items():
        used = "-standin" if section == "downloads" else ""
        missing = {name: entry for name, entry in entries.items() if name not in config[section] or used}
        config = merge(config, {section: copy.deepcopy(missing)})
    known = read_schema()["$defs"]["run-trained"]["properties"]
    for entry in config["runs"]:
        if "models" in entry and "validation_set" not in known:
            entry.pop("validation_set", None)
    return config


def write_paper_study(path) -> None:
    """Write the paper study, stand-ins included, as a file of its own."""
    path.write_text(yaml.safe_dump(paper_config(), sort_keys=False))
