"""Keys that recipes have been given since: absent while they have their default, so that no folder is renamed."""

from collections.abc import Mapping
from typing import Any

# On an H100, trainings of 7-48 as processes of their own: with 16,384 LR pixels of a frame's crops in a step four side
# by side do 1.17 times the steps of one; with 32,768 three do 0.87 times those of one. They take turns on the GPU
# and fill only the gaps of each other.
SHARED_PIXELS, SHARING_RUNS = 16384, 4

ADDED: dict[str, Any] = {"optimizer": "adam", "carry_scale": 1}


def complete(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Give a recipe the defaults of the keys that it leaves out."""
    return {**ADDED, **recipe}


def runs_that_fill(recipe: Mapping[str, Any]) -> int:
    """Tell how many trainings of a recipe one GPU does faster side by side than one after the other."""
    return SHARING_RUNS if recipe["batch"] * recipe["crop"] ** 2 <= SHARED_PIXELS else 1
