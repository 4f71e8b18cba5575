"""Runs: what a study trains, converts, takes in or interpolates."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlsp.errors import ConfigError

if TYPE_CHECKING:
    pass


RELEASED = "released:"


@dataclass(frozen=True)
class Run:
    """One thing that is measured.

    Attributes
    ----------
    id : str
        Name in paths and tables.
    origin : {"trained", "released-weights", "released-frames", "interpolation", "external"}
    model : str
        Name shown in tables.
    degradation : str
        Name of the degradation that made its input.
    test_sets : tuple of str
        Data sets it is tested on.
    recipe : str or None
        Of a trained run.
    train_sets : tuple of str
        Of a trained run: data sets that its crops are drawn from.
    validation_set : str or None
        Of a trained run: data set that is restored now and then while it is trained.
    seed : int or None
        Of a trained run.
    source : str or None
        Weight file, folder of frames, or released name of a run that is not trained here.
    """

    id: str
    origin: str
    model: str
    degradation: str
    test_sets: tuple[str, ...]
    recipe: str | None = None
    train_sets: tuple[str, ...] = ()
    validation_set: str | None = None
    seed: int | None = None
    source: str | None = None

    @property
    def kind(self) -> str:
        """How its frames come about: trained, weights, frames or interpolation."""
        if self.origin in ("trained", "interpolation"):
            return self.origin
        is_weights = self.origin == "released-weights" or self.source.endswith(".safetensors")
        return "weights" if is_weights else "frames"


def expand_runs(config: dict[str, Any]) -> dict[str, Run]:
    """Expand the entries of ``runs`` to single runs by id.

    Raises
    ------
    ConfigError
        Two runs have the same id, or a frames run ends in ``.safetensors``.
    """
    runs: dict[str, Run] = {}
    for number, entry in enumerate(config["runs"]):
        for run in _expand_entry(entry, tuple(config["test_sets"])):
            if run.id in runs:
                raise ConfigError(
                    f"runs.{number}: run {run.id} is there already; give the entry a tag or name"
                )
            runs[run.id] = run
    return runs


def _expand_entry(entry: dict[str, Any], test_sets: tuple[str, ...]) -> Iterator[Run]:
    shared = {"test_sets": tuple(entry.get("test_sets", test_sets))}
    for degradation in entry["degradations"]:
        shared["degradation"] = degradation
        if "models" in entry:
            for model in entry["models"]:
                for seed in entry["seeds"]:
                    parts = [model, entry.get("tag"), degradation, f"s{seed}"]
                    yield Run(
                        ".".join(part for part in parts if part), "trained", model,
                        recipe=entry["recipe"], train_sets=_names(entry["train_set"]), seed=seed,
                        validation_set=entry["validation_set"], **shared,
                    )  # fmt: skip
        elif "interpolation" in entry:
            name = entry["interpolation"]
            yield Run(f"{name}.{degradation}", "interpolation", name, **shared)
        else:
            kind = "weights" if "weights" in entry else "frames"
            source = entry[kind]
            if kind == "weights" and not source.startswith(RELEASED) and not source.endswith(".safetensors"):
                raise ConfigError(
                    f"runs: {entry['name']}.weights: expected released:<name> or a .safetensors file, got {source!r}"
                )
            if kind == "frames" and source.endswith(".safetensors"):
                raise ConfigError(
                    f"runs: {entry['name']}.frames: expected a folder of frames, got {source!r}"
                )
            origin = f"released-{kind}" if source.startswith(RELEASED) else "external"
            model = entry.get("model", entry["name"])
            yield Run(f"{entry['name']}.{degradation}", origin, model, source=source, **shared)


def _names(value: str | list[str]) -> tuple[str, ...]:
    """Give one name or several as several."""
    return (value,) if isinstance(value, str) else tuple(value)
