"""Weights of classes of a user's own, and what restoring adds to see that frames are finite; see also tests/corpus."""

import numpy as np
import pytest
import torch
from made_degradations import BICUBIC
from made_models import Own, small

from rlsp.errors import ConfigError, DataError
from rlsp.inference.restorer import Restorer
from rlsp.models import build_model
from rlsp.models.weights import load_weights, save_weights

LR = np.full((3, 6, 7, 3), 90, np.uint8)


class Fixed(Own):
    """A class that needs numbers while it is built."""

    def __init__(self, scale=4, input_range=255):
        super().__init__(scale=scale, input_range=input_range)
        self.first = float(torch.arange(3).sum().numpy())


class Divides(Own):
    """A class whose second frame is nan, as sums of frames may be that are divided by their number."""

    def step(self, frames, carry):
        sr, after = super().step(frames, carry)
        return sr if carry is None else sr * float("nan"), after


@pytest.mark.parametrize("name", ["Own", "Fixed"])
def test_a_class_of_the_users_own_is_read_and_compared(tmp_path, name):
    arch = f"{'made_models' if name == 'Own' else __name__}:{name}"
    path, metadata = tmp_path / "own.safetensors", {"model": {"arch": arch}, "degradation": BICUBIC}
    save_weights(path, build_model({"arch": arch}), metadata)
    assert load_weights(path, trusted_arch=arch)[0].scale == 4
    save_weights(path, small("rlsp"), metadata)
    with pytest.raises(DataError, match="layer.weight: expected an array of shape"):
        load_weights(path, trusted_arch=arch)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "255"])
def test_an_input_range_of_a_users_own_class_is_checked(value):
    with pytest.raises(ConfigError, match="model made_models:Own: .*"):
        build_model({"arch": "made_models:Own", "input_range": value})


def test_a_frame_that_is_not_finite_stops_the_clip_and_names_it():
    pictures = Restorer(Divides()).pictures(iter(LR), 1.5, name="walk")
    next(pictures)
    with pytest.raises(
        DataError, match=r"^walk: frame 1: expected finite numbers .* in fp32, got nan or inf$"
    ):
        next(pictures)


@pytest.mark.parametrize(("name", "count"), [("rlsp", 2), ("rlsp-rgb", 1)])
def test_a_step_gives_pictures_and_nothing_else(name, count):
    """What is timed and counted is what it was before the sum was taken along."""
    restorer = Restorer(small(name))
    restorer.start(1.5)
    outputs = restorer.step(torch.full((1, 3, 3, 6, 7), 90, dtype=torch.uint8))
    assert [output.dtype for output in outputs] == [torch.uint8] * count
