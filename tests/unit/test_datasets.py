import os
import signal

import numpy as np
import pytest
import torch
from made_degradations import BICUBIC, GAUSSIAN
from made_trainings import made_clips, make_recipe

from rlsp.data.degradation import degrade, phase
from rlsp.errors import DataError
from rlsp.training.crops import (
    Batches,
    TrainingCrops,
    batch_shape,
    read_batches,
    reader_errors,
)
from rlsp.training.resident import ResidentCrops

pytestmark = pytest.mark.numerical


AUGMENTATIONS = ("flip", "transpose", "reverse")


def make_crops(seed=0, **settings):
    lr, hr = made_clips()
    return TrainingCrops(
        lr, hr, **{"scale": 4, "crop": 8, "frames": 3, "behind": 1, "ahead": 1, **settings}, seed=seed
    )


def test_crops_are_a_function_of_seed_step_and_index():
    one, two = make_crops(), make_crops()
    two.crop_at(3, 1)
    for a, b in zip(one.crop_at(7, 2), two.crop_at(7, 2), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.crop_at(7, 2)[1], make_crops(1).crop_at(7, 2)[1])
    assert not torch.equal(one.crop_at(7, 2)[1], one.crop_at(7, 3)[1])
    assert not torch.equal(one.crop_at(7, 2)[1], one.crop_at(8, 2)[1])


def test_models_with_and_without_neighbours_see_the_same_frames():
    """Rows of an ablation are compared on the same data; where a clip has no frame to spare, all of it is used."""
    alone, beside = make_crops(behind=0, ahead=0), make_crops()
    for step in range(20):
        (lr, hr), (wide, same) = alone.crop_at(step, 0), beside.crop_at(step, 0)
        assert torch.equal(hr, same) and torch.equal(lr, wide[1:-1])
    whole = make_crops(behind=0, ahead=0, frames=8)
    assert whole.crop_at(0, 0)[1].shape[0] == 8


def test_crops_do_not_depend_on_how_many_are_drawn():
    crops = make_crops(augment=AUGMENTATIONS)
    few, many = crops.batch(3, 2), crops.batch(3, 5)
    assert all(torch.equal(a, b[:2]) for a, b in zip(few, many, strict=True))
    share = crops.batch(3, 5, indices=range(2, 4))
    assert all(torch.equal(a, b[2:4]) for a, b in zip(share, many, strict=True))


def test_crops_of_lr_and_hr_show_the_same_place():
    crops = make_crops(ahead=2)
    for step in range(20):
        small, large = crops.crop_at(step, 0)
        assert small.shape == (6, 8, 8, 3)
        assert torch.equal(small[1:-2], large[:, ::4, ::4])
    batch_lr, batch_hr = crops.batch(0, 3)
    assert batch_lr.shape == (3, 6, 3, 8, 8)
    assert batch_hr.shape == (3, 3, 3, 32, 32)
    assert torch.equal(batch_lr[1, 1, 0], batch_hr[1, 0, 0, ::4, ::4])


def test_crops_reach_every_position():
    lr = {"a": np.zeros((4, 6, 6, 3), np.uint8)}
    hr = {"a": np.arange(4 * 24 * 24 * 3, dtype=np.uint32).astype(np.uint8).reshape(4, 24, 24, 3)}
    crops = TrainingCrops(lr, hr, scale=4, crop=5, frames=3, seed=0)
    seen = {crops.crop_at(step, 0)[1].numpy().tobytes() for step in range(200)}
    assert len(seen) == 2 * 2 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 17}, "17x17 LR pixels"),
        ({"crop": 16, "augment": ["flip"]}, "17x17 LR pixels"),  # a mirrored crop needs a margin at phase 0
        ({"frames": 9}, "at least 11 frames"),
        ({"scale": 2}, "expected HR of shape"),
    ],
)
def test_clips_that_do_not_fit_the_crop(change, message):
    with pytest.raises(DataError, match=message):
        make_crops(**change)


# ---- augmentation and the phase of the degradation -------------------------------------------------


def degradations():
    gaussian = [pytest.param({**GAUSSIAN, "phase": p}, id=f"gaussian-phase-{p}") for p in range(4)]
    return [*gaussian, pytest.param(BICUBIC, id="bicubic")]


def impulse_crops(spec, **settings):
    """One dot of light on black, in each frame elsewhere, and its LR as the degradation makes it."""
    hr = np.zeros((6, 96, 96, 3), np.uint8)
    for t in range(6):
        hr[t, 37 + 3 * t, 58 - 2 * t] = 255
    return TrainingCrops(
        {"dot": degrade(hr, spec)}, {"dot": hr}, scale=4, crop=20, frames=3, behind=1, ahead=1,
        phase=phase(spec), **{"augment": AUGMENTATIONS, "seed": 0, **settings},
    )  # fmt: skip


@pytest.mark.parametrize("spec", degradations())
def test_augmented_pairs_are_pairs_that_the_degradation_makes(spec):
    """Degrading the turned HR gives the turned LR: the sampling grid sits where it would."""
    crops = impulse_crops(spec)
    lit = 0
    for step in range(60):
        small, large = crops.crop_at(step, 0)
        again = degrade(large.numpy(), spec).astype(int)
        inside = (slice(None), slice(4, -4), slice(4, -4))  # blur reaches over the border of a crop
        difference = np.abs(again - small[1:-1].numpy().astype(int))[inside]
        assert difference.max() <= 1, f"step {step}"  # bicubic rounds rows first, transposed columns
        lit += int(again[inside].max() > 8)
    assert lit > 20


def test_a_wrong_phase_would_be_seen():
    spec = {**GAUSSIAN, "phase": 0}
    crops = impulse_crops(spec, augment=["flip"])
    crops.mirror_shift = 0  # mirrored as if the LR pixels sat in the middle of their HR pixels
    worst = 0
    for step in range(40):
        small, large = crops.crop_at(step, 0)
        difference = degrade(large.numpy(), spec).astype(int) - small[1:-1].numpy().astype(int)
        worst = max(worst, np.abs(difference[:, 4:-4, 4:-4]).max())
    assert worst > 5


def test_each_augmentation_occurs_in_every_combination():
    hr = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    crops = TrainingCrops(
        {"a": hr}, {"a": hr}, scale=1, crop=8, frames=5, seed=0, augment=AUGMENTATIONS, phase=0
    )
    seen = {crops.crop_at(step, 0)[1].numpy().tobytes() for step in range(300)}
    assert len(seen) == 2 * 2 * 2 * 2
    only_time = TrainingCrops({"a": hr}, {"a": hr}, scale=1, crop=8, frames=5, seed=0, augment=["reverse"])
    seen = {only_time.crop_at(step, 0)[1].numpy().tobytes() for step in range(50)}
    assert seen == {hr.tobytes(), hr[::-1].tobytes()}


def test_turned_round_what_lay_behind_lies_ahead():
    """With two frames behind and none ahead, the LR frame before the first is the one after it in time."""
    clip = np.repeat(np.arange(7, dtype=np.uint8)[:, None, None, None], 3, 3).repeat(8, 1).repeat(8, 2)
    crops = TrainingCrops(
        {"a": clip}, {"a": clip}, scale=1, crop=8, frames=2, behind=2, ahead=0, seed=0, augment=["reverse"]
    )
    orders = set()
    for step in range(60):
        lr, hr = (part[:, 0, 0, 0].tolist() for part in crops.crop_at(step, 0))
        assert lr[2:] == hr
        orders.add(lr[1] - lr[0])
        assert len({b - a for a, b in zip(lr, lr[1:], strict=False)}) == 1
    assert orders == {1, -1}


# ---- batches ---------------------------------------------------------------------------------------


def test_long_clips_come_late():
    recipe = make_recipe(steps=10, long_clips={"after": 0.7, "frames": 6, "batch": 1})
    assert [batch_shape(step, recipe) for step in (0, 6, 7, 9)] == [(2, 3), (2, 3), (1, 6), (1, 6)]
    lr, hr = Batches(make_crops(frames=6), recipe)[8]
    assert lr.shape[:2] == (1, 8)
    assert hr.shape[:2] == (1, 6)


def test_reading_ahead_changes_no_batch():
    batches = Batches(make_crops(augment=AUGMENTATIONS), make_recipe())
    here, ahead = (list(read_batches(batches, 5, workers=workers)) for workers in (0, 2))
    assert len(here) == len(ahead) == 12 - 5
    for one, other in zip(here, ahead, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_processes_share_a_batch():
    crops = make_crops()
    whole = Batches(crops, make_recipe(batch=4))[3]
    shares = [Batches(crops, make_recipe(batch=4), rank=rank, processes=2)[3] for rank in (0, 1)]
    for index, part in enumerate(whole):
        assert torch.equal(part, torch.cat([share[index] for share in shares]))


def test_clips_on_a_device_give_the_same_batches():
    crops = make_crops(augment=AUGMENTATIONS)
    resident = ResidentCrops(crops, "cpu")
    for step in range(8):  # every way of turning, shares of a batch and other lengths
        options = {"frames": 2 + step % 2, "indices": range(step % 2, 3)}
        for one, other in zip(
            crops.batch(step, 3, **options), resident.batch(step, 3, **options), strict=True
        ):
            assert torch.equal(one, other)
    assert crops.nbytes == 2 * 8 * 3 * (16 * 16 + 64 * 64)


class Deadly(Batches):
    def __getitem__(self, step):
        if step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(step)


def test_a_reader_that_dies_is_one_line():
    with (
        pytest.raises(DataError, match="reads training data ended unexpectedly") as caught,
        reader_errors(),
    ):
        list(read_batches(Deadly(make_crops(), make_recipe()), 0, workers=1))
    assert "\n" not in str(caught.value)
