"""Bicubic and Gaussian degradation against their definitions."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from made_degradations import BICUBIC
from made_metrics import BLOCK_MEAN
from scipy.ndimage import gaussian_filter

from rlsp.data.clips import open_clips, read_manifest, write_clip
from rlsp.data.degradation import (
    bicubic_weights,
    degrade,
    degrade_bicubic,
    degrade_dataset,
    degrade_gaussian,
    phase,
)
from rlsp.errors import ConfigError, DataError
from rlsp.files import write_json

pytestmark = pytest.mark.numerical

GAUSSIAN = {
    **{"kind": "gaussian", "scale": 4, "sigma": 1.5, "truncate": 4.0},
    **{"phase": 0, "boundary": "reflect", "rounding": "rint"},
}


def random_clip(shape=(1, 8, 12, 3), levels=256, seed=0):
    """Frames with values on a grid of `levels` levels; a coarse grid makes ties frequent."""
    step = 256 // levels
    return (np.random.default_rng(seed).integers(0, levels, shape) * step).astype(np.uint8)


# ---- bicubic: the definition restated, slowly and in fractions -----------------------------------


def cubic(x):
    x = abs(x)
    if x <= 1:
        return (3 * x**3 - 5 * x**2 + 2) / 2
    return (-(x**3) + 5 * x**2 - 8 * x + 4) / 2 if x <= 2 else Fraction(0)


def shrink_line(line, scale, boundary):
    """One line of pixels, in MATLAB's terms: positions count from 1, weights are normalised."""
    size = len(line)
    shrunk = []
    for output in range(1, size // scale + 1):
        centre = output * scale + Fraction(1 - scale, 2)
        left = math.floor(centre - 2 * scale)
        positions = range(left, left + 4 * scale + 2)
        weights = [cubic((centre - position) / Fraction(scale)) / scale for position in positions]
        if boundary == "replicate":
            inside = [min(max(position, 1), size) - 1 for position in positions]
        else:
            there_and_back = [*range(size), *reversed(range(size))]
            inside = [there_and_back[(position - 1) % (2 * size)] for position in positions]
        total = sum(weight * line[i] for weight, i in zip(weights, inside, strict=True))
        shrunk.append(total / sum(weights))
    return shrunk


def to_8_bits(value):
    return min(max(math.floor(value + Fraction(1, 2)), 0), 255)


def imresize(picture, scale, boundary, round_between_passes):
    """Shrink (H, W) lists of whole numbers; gives the result and how many values were ties."""
    columns = [shrink_line(list(column), scale, boundary) for column in zip(*picture, strict=True)]
    ties = sum(value % 1 == Fraction(1, 2) for column in columns for value in column)
    if round_between_passes:
        columns = [[to_8_bits(value) for value in column] for column in columns]
    rows = [shrink_line(list(row), scale, boundary) for row in zip(*columns, strict=True)]
    ties += sum(value % 1 == Fraction(1, 2) for row in rows for value in row)
    return [[to_8_bits(value) for value in row] for row in rows], ties


@pytest.mark.slow
@pytest.mark.parametrize("round_between_passes", [True, False])
@pytest.mark.parametrize("boundary", ["symmetric", "replicate"])
@pytest.mark.parametrize(
    ("scale", "height", "width"), [(4, 16, 12), (4, 4, 24), (2, 8, 10), (3, 9, 12), (8, 8, 16)]
)
def test_bicubic_equals_its_definition(scale, height, width, boundary, round_between_passes):
    for levels, seed in ((256, 1), (2, 2), (4, 3)):
        clip = random_clip((1, height, width, 1), levels, seed)
        expected, _ = imresize(clip[0, :, :, 0].tolist(), scale, boundary, round_between_passes)
        result = degrade_bicubic(
            clip, scale=scale, boundary=boundary, round_between_passes=round_between_passes
        )
        np.testing.assert_array_equal(result[0, :, :, 0], expected)


@pytest.mark.parametrize("scale", [2, 4])
def test_bicubic_rounds_ties_up(scale):
    # an edge from 0 to 1 at the centre of the third LR pixel: 1/2 exactly, since the kernel is symmetric
    clip = np.zeros((1, scale, 5 * scale, 1), np.uint8)
    clip[:, :, 2 * scale + scale // 2 :] = 1
    _, ties = imresize(clip[0, :, :, 0].tolist(), scale, "replicate", True)
    assert ties == 1
    assert degrade_bicubic(clip, scale=scale, boundary="replicate")[0, 0, :, 0].tolist() == [0, 0, 1, 1, 1]


def test_the_options_of_bicubic_matter():
    clip = random_clip((1, 32, 32, 3))
    default = degrade_bicubic(clip, scale=4)
    replicate = degrade_bicubic(clip, scale=4, boundary="replicate")
    unrounded = degrade_bicubic(clip, scale=4, round_between_passes=False)
    # HR rows -6..9 make LR row 0: only the outermost two LR rows and columns see the boundary
    assert (default != replicate)[:, 0].any()
    np.testing.assert_array_equal(default[:, 2:-2, 2:-2], replicate[:, 2:-2, 2:-2])
    assert (default != unrounded).any()
    # rows shrink first: with 8 bits in between, the order of the passes shows
    swapped = degrade_bicubic(clip.swapaxes(1, 2), scale=4).swapaxes(1, 2)
    assert (default != swapped).any()


def test_impulse_gives_the_bicubic_kernel():
    # on a level of 100, so that negative weights show
    numerators, denominator, first = bicubic_weights(4)
    for position in range(12, 16):
        clip = np.full((1, 4, 28, 1), 100, np.uint8)
        clip[:, :, position] = 228
        expected = [
            to_8_bits(100 + Fraction(128 * numerators[tap], denominator)) if 0 <= tap < 16 else 100
            for tap in (position - first - 4 * i for i in range(7))
        ]
        np.testing.assert_array_equal(degrade_bicubic(clip, scale=4)[0, 0, :, 0], expected)
        assert min(expected) < 100 < max(expected)


@pytest.mark.parametrize("scale", range(1, 17))
def test_bicubic_weights_are_exact(scale):
    numerators, denominator, first = bicubic_weights(scale)
    assert sum(numerators) == denominator
    assert numerators == numerators[::-1]
    assert 2 * first + len(numerators) - 1 == scale - 1  # centred between the HR pixels of an LR pixel
    # two passes without rounding, doubled for the rounding: whole numbers that float64 holds exactly
    assert 2 * 255 * sum(map(abs, numerators)) ** 2 + denominator**2 < 2**53
    if scale in (2, 4, 8, 16):
        assert denominator & (denominator - 1) == 0


def test_bicubic_weights_at_scale_4():
    # Keys' polynomials at 1/8, 3/8 ... 15/8, divided by the scale
    inner = [(1.5 * x**3 - 2.5 * x**2 + 1) / 4 for x in (0.125, 0.375, 0.625, 0.875)]
    outer = [(-0.5 * x**3 + 2.5 * x**2 - 4 * x + 2) / 4 for x in (1.125, 1.375, 1.625, 1.875)]
    numerators, denominator, first = bicubic_weights(4)
    assert (len(numerators), denominator, first) == (16, 4096, -6)
    assert [numerator / denominator for numerator in numerators[8:]] == inner + outer


# ---- Gaussian ------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("boundary", ["reflect", "mirror", "nearest", "wrap"])
@pytest.mark.parametrize(("sigma", "truncate"), [(1.5, 4.0), (1.6, 3.0)])
def test_gaussian_equals_scipy(sigma, truncate, boundary, offset):
    clip = random_clip((2, 16, 24, 3))
    options = {"sigma": sigma, "truncate": truncate, "boundary": boundary}
    result = degrade_gaussian(clip, scale=4, phase=offset, **options)
    for frame, lr in zip(clip, result, strict=True):
        blurred = gaussian_filter(frame.astype(float), [sigma, sigma, 0], truncate=truncate, mode=boundary)
        expected = np.clip(np.rint(blurred), 0, 255).astype(np.uint8)[offset::4, offset::4]
        np.testing.assert_array_equal(lr, expected)


def test_truncate_is_the_uint8_trap():
    clip = random_clip((1, 64, 64, 3))
    trapped = degrade_gaussian(clip, scale=4, rounding="truncate")
    np.testing.assert_array_equal(trapped[0], gaussian_filter(clip[0], [1.5, 1.5, 0])[::4, ::4])
    darker = trapped.astype(float).mean() - degrade_gaussian(clip, scale=4).astype(float).mean()
    assert darker == pytest.approx(-1, abs=0.1)  # half a level for each axis


def test_impulse_gives_the_gaussian_kernel():
    clip = np.zeros((1, 32, 32, 1), np.uint8)
    clip[0, 13, 18] = 255
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 1.5) ** 2)
    kernel /= kernel.sum()
    expected = np.zeros((32, 32))
    expected[7:20, 12:25] = 255 * np.outer(kernel, kernel)
    for offset in range(4):
        result = degrade_gaussian(clip, scale=4, phase=offset)[0, :, :, 0]
        np.testing.assert_array_equal(result, np.rint(expected)[offset::4, offset::4])


# ---- both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", [BICUBIC, {**BICUBIC, "boundary": "replicate"}, GAUSSIAN, {**BLOCK_MEAN, "darker": 0}]
)
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_flat_frames_stay_flat(spec, level):
    clip = np.full((1, 8, 12, 3), level, np.uint8)
    np.testing.assert_array_equal(degrade(clip, spec), np.full((1, 2, 3, 3), level))


@pytest.mark.parametrize(
    "spec",
    [BICUBIC, GAUSSIAN, {**GAUSSIAN, "phase": 2}, {**GAUSSIAN, "phase": 3}, {**BLOCK_MEAN, "darker": 0}],
)
@pytest.mark.parametrize("axis", [1, 2])
def test_phase_is_where_a_ramp_is_sampled(spec, axis):
    ramp = np.arange(4, 4 + 64, dtype=np.uint8) * 2
    clip = np.broadcast_to(ramp.reshape(-1, 1, 1) if axis == 1 else ramp.reshape(-1, 1), (1, 64, 64, 3))
    lr = degrade(clip, spec).swapaxes(1, axis)[0, :, 8, 0].astype(float)
    inside = np.arange(4, 12)
    np.testing.assert_array_equal(lr[inside], 8 + 2 * (4 * inside + phase(spec)))


def test_phase_of_each_kind():
    assert phase(BICUBIC) == 1.5
    assert phase({**BICUBIC, "scale": 2}) == 0.5
    assert phase({**GAUSSIAN, "phase": 2}) == 2.0
    # as it is told: the function, which need not be there, is not asked
    assert phase({"kind": "no.such.module:function", "first_pixel": 0.5, "scale": 4}) == 0.5


def test_frames_and_channels_do_not_mix():
    clip = random_clip((3, 8, 8, 3))
    for spec in (BICUBIC, GAUSSIAN, BLOCK_MEAN):
        together = degrade(clip, spec)
        for t in range(3):
            np.testing.assert_array_equal(together[t : t + 1], degrade(clip[t : t + 1], spec))
            for c in range(3):
                np.testing.assert_array_equal(
                    together[t, :, :, c], degrade(clip[t : t + 1, :, :, [c]], spec)[0, ..., 0]
                )


@pytest.mark.parametrize("spec", [BICUBIC, GAUSSIAN, BLOCK_MEAN])
@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((1, 8, 8, 3)), "expected uint8 frames, got float64"),
        (np.zeros((8, 8, 3), np.uint8), r"expected frames of \(T, H, W, C\), got \(8, 8, 3\)"),
        (np.zeros((1, 8, 10, 3), np.uint8), "multiples of 4, got 10x8"),
        (np.zeros((1, 6, 8, 3), np.uint8), "multiples of 4, got 8x6"),
        (np.zeros((1, 0, 8, 3), np.uint8), "multiples of 4, got 8x0"),
    ],
)
def test_wrong_frames_are_refused(spec, clip, message):
    with pytest.raises(DataError, match=message):
        degrade(clip, spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {**BICUBIC, "kind": "lanczos"},
            "kind: expected one of bicubic, gaussian, package.module:function, got 'lanczos'",
        ),
        ({**BICUBIC, "sigma": 1.5}, "degradation.sigma: unknown key; expected one of kind, boundary"),
        (
            {"kind": "gaussian", "scale": 4},
            "degradation gaussian: missing keys sigma, truncate, phase, boundary, rounding",
        ),
        ({**BICUBIC, "scale": 0}, "degradation.scale: expected a minimum of 1, got 0"),
        ({**BICUBIC, "scale": 17}, "scale: expected"),
        ({**GAUSSIAN, "scale": 2.5}, "scale: expected"),
        ({**GAUSSIAN, "scale": True}, "scale: expected"),
        ({**BICUBIC, "boundary": "reflect"}, "boundary: expected one of symmetric, replicate, got 'reflect'"),
        (
            {**GAUSSIAN, "boundary": "symmetric"},
            "boundary: expected one of reflect, nearest, mirror, wrap, got 'symmetric'",
        ),
        ({**GAUSSIAN, "sigma": 0}, "sigma: expected more than the minimum 0, got 0"),
        ({**GAUSSIAN, "truncate": -1.0}, "truncate: expected more than the minimum 0, got -1.0"),
        ({**GAUSSIAN, "phase": 4}, "phase: expected a whole number from 0 to 3, got 4"),
        ({**GAUSSIAN, "phase": 1.5}, "phase: expected"),
        ({**GAUSSIAN, "rounding": "floor"}, "rounding: expected one of rint, truncate, got 'floor'"),
    ],
)
def test_wrong_specs_are_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        degrade(random_clip(), spec)


# ---- the user's own ------------------------------------------------------------------------------


def test_a_function_of_the_users_own_makes_each_frame_and_is_given_its_keys():
    clip = np.full((2, 8, 12, 3), 100, np.uint8)
    clip[1, :4, :4] = 7
    lr = degrade(clip, BLOCK_MEAN)
    assert (lr.shape, lr.dtype) == ((2, 2, 3, 3), np.uint8)
    assert (lr[0] == 98).all() and (lr[1, 0, 0] == 5).all() and (lr[1, 1:] == 98).all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": "no_such_module:blur"}, ConfigError, "degradation.kind: cannot import no_such_module:blur"),
        ({"kind": "made_metrics:blur"}, ConfigError, "degradation.kind: cannot import made_metrics:blur"),
        (
            {"kind": "made_metrics:NO_FUNCTION"},
            ConfigError,
            "degradation.kind: expected a function, got made_metrics:NO_FUNCTION of type int",
        ),
        ({"darkr": 1}, ConfigError, "degradation.kind: made_metrics:block_mean: .*unexpected.*'darkr'"),
        ({"kind": "a b:c"}, ConfigError, "degradation.kind: text 'a b:c' does not fit"),
        ({"first_pixel": -1}, ConfigError, "degradation.first_pixel: expected a minimum of 0, got -1"),
    ],
)
def test_an_own_function_that_cannot_be_called_is_told_in_one_line(changes, error, message):
    with pytest.raises(error, match=message) as caught:
        degrade(random_clip(), {**BLOCK_MEAN, **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["first_pixel", "scale"])
def test_an_own_degradation_without_its_phase_or_scale_is_refused(key):
    spec = {name: value for name, value in BLOCK_MEAN.items() if name != key}
    with pytest.raises(ConfigError, match=f"{key}"):
        degrade(random_clip(), spec)


@pytest.mark.parametrize(
    ("made", "got"),
    [
        (np.zeros((2, 3, 3)), r"float64 \(2, 3, 3\)"),
        (np.zeros((2, 3), np.uint8), r"uint8 \(2, 3\)"),
        (np.zeros((8, 12, 3), np.uint8), r"uint8 \(8, 12, 3\)"),
        (None, r"object \(\)"),
    ],
)
def test_what_is_no_lr_frame_is_refused_by_the_name_of_its_function(monkeypatch, made, got):
    monkeypatch.setattr("made_metrics.block_mean", lambda frame, scale, darker: made)
    message = rf"degradation made_metrics:block_mean: expected uint8 frames of \(2, 3, 3\), got {got}"
    with pytest.raises(DataError, match=message):
        degrade(random_clip(), BLOCK_MEAN)


# ---- data sets -----------------------------------------------------------------------------------


@pytest.fixture
def manifest_path(tmp_path):
    """Two small clips with their manifest."""
    folder = tmp_path / "hr"
    clips = {name: random_clip((3, 8, 12, 3), seed=seed) for seed, name in enumerate(("walk", "city"))}
    entries = {name: write_clip(folder / f"{name}.npy", frames) for name, frames in clips.items()}
    manifest = {"dataset": "made", "spec": {"clips": 2}, "licence": "CC0-1.0", "clips": entries}
    write_json(folder / "manifest.json", manifest)
    return folder / "manifest.json"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("spec", [BICUBIC, GAUSSIAN, BLOCK_MEAN], ids=["bicubic", "gaussian", "own"])
def test_degrade_dataset(manifest_path, tmp_path, spec, workers):
    lr_manifest_path = tmp_path / "lr" / "manifest.json"
    degrade_dataset(manifest_path, spec, lr_manifest_path, workers=workers)
    manifest = read_manifest(lr_manifest_path)
    assert {key: manifest[key] for key in ("dataset", "spec", "licence", "degradation")} == {
        **{"dataset": "made", "spec": {"clips": 2}, "licence": "CC0-1.0"},
        "degradation": spec,
    }
    hr_clips, lr_clips = open_clips(manifest_path), open_clips(lr_manifest_path)
    assert list(lr_clips) == list(hr_clips)
    for name, lr in lr_clips.items():
        np.testing.assert_array_equal(lr, degrade(hr_clips[name], spec))
        assert manifest["clips"][name]["height"] == 2 and manifest["clips"][name]["width"] == 3
    assert sorted(path.name for path in lr_manifest_path.parent.iterdir()) == [
        *("city.npy", "manifest.json", "walk.npy")
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_clip_is_named_and_leaves_no_manifest(manifest_path, tmp_path, workers):
    manifest = json.loads(manifest_path.read_text())
    manifest["clips"]["city"] = write_clip(manifest_path.parent / "city.npy", random_clip((3, 8, 10, 3)))
    write_json(manifest_path, manifest)
    lr_manifest_path = tmp_path / "lr" / "manifest.json"
    lr_manifest_path.parent.mkdir()
    lr_manifest_path.write_text("of an earlier run")
    with pytest.raises(
        DataError, match=r"city\.npy: expected height and width to be multiples of 4, got 10x8"
    ):
        degrade_dataset(manifest_path, BICUBIC, lr_manifest_path, workers=workers)
    assert {path.name for path in lr_manifest_path.parent.iterdir()} <= {"walk.npy"}


def test_the_hr_folder_is_never_overwritten(manifest_path):
    before = manifest_path.read_bytes()
    with pytest.raises(DataError, match="expected another folder than that of the HR clips"):
        degrade_dataset(manifest_path, BICUBIC, manifest_path.parent / "lr.json")
    assert manifest_path.read_bytes() == before


def test_a_wrong_spec_or_missing_manifest_is_refused(manifest_path, tmp_path):
    with pytest.raises(ConfigError, match="kind: expected"):
        degrade_dataset(manifest_path, {**BICUBIC, "kind": "area"}, tmp_path / "lr" / "manifest.json")
    with pytest.raises(DataError, match="manifest"):
        degrade_dataset(tmp_path / "none.json", BICUBIC, tmp_path / "lr" / "manifest.json")
