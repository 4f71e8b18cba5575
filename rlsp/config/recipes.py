"""Keys that recipes have been given since: absent while they have their default, so that no folder is renamed."""

from collections.abc import Mapping
from typing import Any

MOST_RUNS = 4  # side by side on one GPU: more share its time without filling it any better
# LR pixels of a frame's crops that fill a large GPU, all runs together: on an H100 four trainings of 7-48 with 16,384
# each do 1.5 times the steps of one, two with 65,536 each 1.1 times.
FILLING_PIXELS = 131072

ADDED: dict[str, Any] = {"optimizer": "adam", "carry_scale": 1}


def complete(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Give a recipe the defaults of the keys that it leaves out."""
    return {**ADDED, **recipe}


def runs_that_fill(recipe: Mapping[str, Any]) -> int:
    """Tell how many trainings of a recipe one GPU does better side by side than one after the other."""
    return min(MOST_RUNS, max(1, FILLING_PIXELS // (recipe["batch"] * recipe["crop"] ** 2)))
