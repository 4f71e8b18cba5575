"""What tables and figures know of a study besides its rows: `study.json` beside them."""

from typing import Any, ClassVar, Self

from pydantic import Field, ValidationError

from rlsp.config.specs.base import Spec, explain
from rlsp.config.specs.degradations import AnyDegradation
from rlsp.config.specs.metrics import OwnMetric
from rlsp.config.specs.models import AnyModel
from rlsp.config.specs.protocols import Protocol
from rlsp.config.specs.recipes import Recipe
from rlsp.errors import ConfigError


class Facts(Spec):
    """The resolved specs that a study's numbers were made with."""

    LEFT_OUT: ClassVar[frozenset[str]] = frozenset({"metrics", "budget", "skipped"})

    study: str = Field(description="Name of the study.")
    device: str = Field(description="What it was measured on, in words.")
    protocols: dict[str, Protocol] = Field(description="How rows per frame become one number.")
    headline_protocol: str = Field(description="Protocol of figures and of tables with one number a run.")
    models: dict[str, AnyModel] = Field({}, description="Methods that were timed.")
    degradations: dict[str, AnyDegradation] = Field({}, description="How LR clips were made.")
    recipes: dict[str, Recipe] = Field({}, description="How models were trained.")
    metrics: dict[str, OwnMetric] = Field({}, description="Measures of the user's own.")
    ablation: tuple[str, ...] = Field(
        (), description="Models, each of which adds one thing to the one before."
    )
    reference_model: str | None = Field(None, description="Whose run time is 1; None: the fastest.")
    skipped: tuple[str, ...] = Field((), description="Models that runtime.skip leaves out.")
    budget: str | None = Field(None, description="In words, instead of what the training rows say.")

    @classmethod
    def read(cls, data: dict[str, Any]) -> Self:
        """Check the facts.

        Raises
        ------
        ConfigError
            One line with the key, what was expected and what came.
        """
        try:
            facts = cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(explain(error, "study", {"models": 2, "degradations": 2})) from None
        if facts.headline_protocol not in facts.protocols:
            raise ConfigError(
                f"study.headline_protocol: expected one of {', '.join(facts.protocols)}, "
                f"got {facts.headline_protocol!r}"
            )
        return facts

    @property
    def headline(self) -> Protocol:
        """The protocol that is shown where one number of a run is."""
        return self.protocols[self.headline_protocol]

    @property
    def headline_first(self) -> list[str]:
        """Names of the protocols, the headline's first."""
        return sorted(self.protocols, key=lambda name: name != self.headline_protocol)

    @property
    def scale(self) -> int | None:
        """Up-scaling factor, where a model or a degradation tells it."""
        specs = [*self.models.values(), *self.degradations.values()]
        return next((spec.scale for spec in specs), None)
