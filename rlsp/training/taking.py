"""Weights of an equal training, taken from another study's results instead of training again."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from rlsp.config.specs.runs import Training
from rlsp.files import replace_when_complete, spec_hash, write_json

WEIGHTS, LOG, PROVENANCE = "model.safetensors", "training.csv", "provenance.json"


def equal_folders(weights_path: Path, studies: Sequence[str] | None) -> list[Path]:
    """List the folders where other studies, whose results lie beside these, would have the weights of this run."""
    run, results = weights_path.parent.name, weights_path.parents[3]
    return [results / study / "weights" / run for study in studies or ()]


def find_equal(spec: Training, folders: Iterable[Path], manifests: Iterable[Path]) -> Path | None:
    """Find the folder of a finished training that is equal in all that decides the weights.

    Parameters
    ----------
    spec : Training
        What is asked for.
    folders : iterable of Path
        Folders of weights that may be equal; they need not be there.
    manifests : iterable of Path
        Manifests of the clips: weights that are older than one of them have seen other clips, perhaps.
    """
    newest = max((path.stat().st_mtime for path in manifests), default=0.0)
    for folder in folders:
        files = [folder / name for name in (WEIGHTS, LOG, PROVENANCE)]
        if not all(file.is_file() and file.stat().st_mtime >= newest for file in files):
            continue
        try:
            found = json.loads(files[-1].read_text(encoding="utf-8"))["spec"]
        except (ValueError, KeyError, TypeError):
            continue  # damaged: trained anew
        if spec_hash(found) == spec_hash(spec.dump()):
            return folder
    return None


def take_weights(source: Path, weights_path: Path) -> None:
    """Copy the weights, log and provenance of a training; the provenance tells where they were taken from."""
    for file in sorted(source.glob("*.safetensors")) + [source / LOG]:
        with replace_when_complete(weights_path.with_name(file.name)) as temporary:
            shutil.copyfile(file, temporary)
    record = json.loads((source / PROVENANCE).read_text(encoding="utf-8"))
    path = weights_path.with_name(PROVENANCE)
    write_json(path, {**record, "taken_from": str(source)}, indent=2, sort_keys=True)
