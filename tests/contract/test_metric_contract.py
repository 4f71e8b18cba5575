"""What every measure promises, and those of a user's own: the same tests over all of them."""

import math
import re

import cv2
import numpy as np
import pytest
from made_metrics import OWN

from rlsp.config.specs.metrics import CROPPED, INPUTS, unknown_inputs
from rlsp.data.images import write_png
from rlsp.errors import DataError
from rlsp.evaluation.inputs import ClipPair
from rlsp.evaluation.scoring import load_metrics, score_frames
from rlsp.metrics import METRICS
from rlsp.metrics.flow import ClipFlow, is_inside

pytestmark = pytest.mark.numerical
FRAMES, HEIGHT, WIDTH = 4, 64, 72
EVERY = {metric.name: metric for metric in (*METRICS, *load_metrics(OWN))}
every_metric = pytest.mark.parametrize("name", EVERY)


@pytest.fixture(scope="module")
def truth():
    """A texture that moves 2 pixels to the left each frame, (FRAMES, HEIGHT, WIDTH, 3) uint8, and its exact flow."""
    noise = np.random.default_rng(3).normal(size=(HEIGHT, WIDTH + 2 * FRAMES, 3)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 2)
    texture = (128 + 40 * texture / texture.std()).clip(20, 230).astype(np.uint8)
    clip = np.stack([texture[:, 2 * t : 2 * t + WIDTH] for t in range(FRAMES)])
    backward = np.broadcast_to(np.float32([2, 0]), (FRAMES - 1, HEIGHT, WIDTH, 2))
    return clip, ClipFlow(backward, np.stack([is_inside(flow) for flow in backward]), "exact")


@pytest.fixture
def measure(truth, tmp_path):
    """Score the true clip with noise of some grey levels on it, as a job does, by some measures."""

    def score(*names, noise=0, crops=(0, 4)):
        clip, flow = truth
        steps = np.random.default_rng(4).integers(-noise, noise + 1, clip.shape)
        restored = np.clip(clip + steps, 0, 255).astype(np.uint8)
        files = [tmp_path / f"{noise}-{index}.png" for index in range(FRAMES)]
        for file, frame in zip(files, restored, strict=True):
            write_png(file, frame)
        pair = ClipPair("texture", clip, files, None, flow)
        metrics = [EVERY[name] for name in names]
        return score_frames(pair, range(FRAMES), crops=crops, metrics=metrics)

    return score


def values(rows, name, crop=0):
    return [row[name] for row in rows if row["crop"] == crop and name in row]


@every_metric
def test_a_record_says_all_that_tables_need(name):
    metric = EVERY[name]
    assert re.fullmatch("[a-z][a-z0-9_]*", metric.name) and metric.label.strip() and metric.unit is not None
    assert metric.label in metric.head and metric.unit in metric.head
    assert metric.decimals >= 0 and metric.factor > 0 and metric.better in ("higher", "lower")
    assert metric.average == "mean" or metric.name.startswith("psnr")
    assert set(metric.inputs) <= set(INPUTS) and not unknown_inputs(metric.kind, metric.inputs)
    assert metric.function.__doc__


def test_names_and_short_names_are_different():
    for names in (list(EVERY), [metric.short for metric in EVERY.values()]):
        assert len(set(names)) == len(names)


@every_metric
def test_every_frame_that_it_measures_has_a_number(measure, name):
    """A measure of frames all of them, one of pairs all but the first, one of clips the first alone."""
    rows = measure(name, noise=6)
    kind = EVERY[name].kind
    frames = {"frame": [0, 1, 2, 3], "pair": [1, 2, 3], "clip": [0]}[kind]
    for crop in (0, 4):
        assert [row["frame"] for row in rows if row["crop"] == crop and name in row] == frames
        assert all(type(value) is float and math.isfinite(value) for value in values(rows, name, crop))


@every_metric
def test_identical_frames_are_best_and_more_noise_is_worse(measure, name):
    means = [np.mean(values(measure(name, noise=noise), name)) for noise in (0, 3, 12)]
    assert means == sorted(means, reverse=EVERY[name].better == "higher")
    assert len(set(means)) == 3
    best = {"higher": {1, math.inf}, "lower": {0}}[EVERY[name].better]
    assert any(value == pytest.approx(means[0], abs=1e-6) for value in best)


@every_metric
def test_the_crop_changes_what_is_cropped_and_nothing_else(measure, name):
    rows = measure(name, noise=6)
    is_cropped = not CROPPED.isdisjoint(EVERY[name].inputs)
    assert (values(rows, name, 0) != values(rows, name, 4)) == is_cropped == EVERY[name].is_cropped
    assert values(measure(name, noise=6, crops=(4,)), name, 4) == values(rows, name, 4)


@every_metric
def test_a_value_does_not_depend_on_the_measures_beside_it_or_on_the_time(measure, name):
    alone = values(measure(name, noise=6), name)
    assert values(measure(*EVERY, noise=6), name) == values(measure(*reversed(EVERY), noise=6), name) == alone


@every_metric
def test_frames_of_another_size_are_refused(truth, tmp_path, name):
    clip, flow = truth
    files = [tmp_path / f"{index}.png" for index in range(FRAMES)]
    for file, frame in zip(files, clip[:, :-4], strict=True):
        write_png(file, frame)
    pair = ClipPair("texture", clip, files, None, flow)
    with pytest.raises(DataError, match=r"0\.png: expected 72x64 RGB like the truth, got 72x60 RGB"):
        score_frames(pair, range(FRAMES), crops=(0,), metrics=[EVERY[name]])


def test_every_measure_that_ships_is_tried():
    assert set(EVERY) >= {metric.name for metric in METRICS} and len(EVERY) == len(METRICS) + len(OWN)
    assert {metric.kind for metric in EVERY.values()} == {"frame", "pair", "clip"}
