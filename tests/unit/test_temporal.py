import math

import cv2
import numpy as np
import pytest

from rlsp.color import rgb_to_y
from rlsp.data.clips import write_clip
from rlsp.data.flow import open_flow, write_flow_dataset
from rlsp.errors import ConfigError, DataError
from rlsp.files import write_json
from rlsp.metrics.flow import dis, farneback, grey, is_inside, occlusion, one_opencv_thread, warp
from rlsp.metrics.temporal import temporal_profile, tof, warp_error

pytestmark = pytest.mark.numerical

HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="module")
def texture():
    """A smooth random picture, larger than a frame by 16 pixels on each side."""
    noise = np.random.default_rng(3).normal(size=(HEIGHT + 32, WIDTH + 32)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return (128 + 40 * smooth / smooth.std()).clip(20, 230)


def window(texture, *, right=0, down=0):
    """The frame whose contents moved by `right` and `down` whole pixels against ``window(texture)``."""
    return texture[16 - down : 16 - down + HEIGHT, 16 - right : 16 - right + WIDTH]


def constant_flow(horizontal, vertical, height=HEIGHT, width=WIDTH):
    return np.broadcast_to(np.float32([horizontal, vertical]), (height, width, 2)).copy()


@pytest.mark.parametrize("estimate", [farneback, dis])
def test_flow_has_the_sign_and_order_of_the_motion(texture, estimate):
    flow = estimate(grey(window(texture)), grey(window(texture, right=3, down=-2)))
    np.testing.assert_allclose(np.median(flow[16:-16, 16:-16], axis=(0, 1)), [3, -2], atol=0.1)


@pytest.mark.parametrize("shape", [(12, 40), (1, 1), (47, 200), (8, 8)])
def test_dis_takes_frames_of_any_size(texture, shape):
    frame = grey(window(np.tile(texture, (1, 2)))[: shape[0], : shape[1]])
    flow = dis(frame, frame)
    assert flow.shape == (*frame.shape, 2) and np.abs(flow).max() < 0.01


def test_grey_is_that_of_opencv():
    rgb = np.random.default_rng(4).integers(0, 256, (50, 50, 3), np.uint8)
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    found = grey(rgb_to_y(rgb))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1 and (found == expected).mean() > 0.98
    assert grey(np.array([3, 16, 235, 250])).tolist() == [0, 0, 255, 255]


def test_warp_follows_the_backward_flow(texture):
    # contents move 3 right and 2 down: frame t at (column, row) shows (column - 3, row - 2) of frame t - 1
    warped = warp(window(texture), constant_flow(-3, -2))
    np.testing.assert_array_equal(warped[2:, 3:], window(texture, right=3, down=2)[2:, 3:])


def test_warp_interpolates_bilinearly():
    ramp = np.add.outer(np.arange(20), 10 * np.arange(20)).astype(np.float32)
    warped = warp(ramp, constant_flow(0.3, -0.7, 20, 20))
    np.testing.assert_allclose(warped[1:, :-1], (ramp + 3 - 0.7)[1:, :-1], atol=1e-4)


def test_is_inside_marks_origins_within_the_frame():
    inside = is_inside(constant_flow(-3, 2, 10, 12))
    expected = np.zeros((10, 12), bool)
    expected[:8, 3:] = True
    np.testing.assert_array_equal(inside, expected)


def test_consistent_flow_is_not_occluded():
    assert not occlusion(constant_flow(4, -1), constant_flow(-4, 1)).any()


def test_flows_that_do_not_cancel_are_occluded():
    # |gap|^2 = 1.44 > 0.01 * (16 + 7.84) + 0.5
    assert occlusion(constant_flow(4, 0), constant_flow(-2.8, 0)).all()
    # |gap|^2 = 0.64 < 0.01 * (16 + 10.24) + 0.5
    assert not occlusion(constant_flow(4, 0), constant_flow(-3.2, 0)).any()


def test_motion_boundaries_are_occluded():
    backward = constant_flow(-4, 0, 20, 20)
    backward[:, 10:, 0] -= 0.5  # 0.25 > 0.01 * 16 + 0.002
    occluded = occlusion(-backward, backward)
    assert occluded[:, 9].all() and not occluded[:, :9].any() and not occluded[:, 10:].any()


def test_opencv_threads_are_restored():
    before = cv2.getNumThreads()
    with one_opencv_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


def test_tof_of_a_known_translation(texture):
    still = [grey(window(texture))] * 2
    moved = [grey(window(texture)), grey(window(texture, right=2, down=1))]
    assert tof(still, moved) == pytest.approx(math.hypot(2, 1), abs=0.1)
    assert tof(moved, moved) == 0
    assert tof(still, moved) == tof(moved, still)


def test_tof_is_the_mean_length_in_the_middle(texture):
    reference = [grey(window(texture)), grey(window(texture, right=1))]
    restored = [reference[0], grey(0.7 * window(texture, right=2) + 40)]
    difference = farneback(*reference) - farneback(*restored)
    # 96 rows: 96 and 80 leave less than 16 or are no multiple of 32, 64 remain; 128 columns: 96 remain
    inner = difference[16:80, 16:112].astype(np.float64)
    expected = np.sqrt(inner[..., 0] ** 2 + inner[..., 1] ** 2).mean()
    assert tof(reference, restored) == pytest.approx(expected, rel=1e-5)


def test_tof_measures_direction_not_speed_alone(texture):
    right = [grey(window(texture)), grey(window(texture, right=2))]
    left = [grey(window(texture)), grey(window(texture, right=-2))]
    assert tof(right, left) == pytest.approx(4, abs=0.2)


@pytest.mark.parametrize(("size", "is_measured"), [(47, False), (48, True)])
def test_tof_needs_48_pixels(texture, size, is_measured):
    pair = [grey(window(texture)[:size]), grey(window(texture, right=1)[:size])]
    assert math.isfinite(tof(pair, pair)) == is_measured
    assert math.isnan(tof(pair, pair)) != is_measured


def test_tof_refuses_other_frames():
    frame = np.zeros((64, 64), np.uint8)
    with pytest.raises(DataError, match=r"expected grey uint8 frames of \(64, 64\), got uint8 \(64, 60\)"):
        tof([frame, frame], [frame, frame[:, :60]])
    with pytest.raises(DataError, match="got float64"):
        tof([frame, frame], [frame, frame.astype(float)])


def test_warp_error_vanishes_along_the_true_motion(texture):
    frames = window(texture), window(texture, right=3, down=2)
    flow = constant_flow(-3, -2)
    assert warp_error(*frames, backward=flow, visible=is_inside(flow)) == 0
    for wrong in (-flow, flow[..., ::-1].copy()):
        assert warp_error(*frames, backward=wrong, visible=is_inside(wrong)) > 1e-3


def test_warp_error_of_flicker_is_its_square(texture):
    frames = window(texture), window(texture, right=3) + 0.02 * 219
    flow = constant_flow(-3, 0)
    assert warp_error(*frames, backward=flow, visible=is_inside(flow)) == pytest.approx(0.02**2, rel=1e-5)


def test_warp_error_counts_visible_and_uncropped_pixels_only():
    previous, current = np.zeros((20, 20)), np.zeros((20, 20))
    current[0, 0] = current[10, 10] = 219
    visible = np.ones((20, 20), bool)
    still = {"backward": constant_flow(0, 0, 20, 20), "visible": visible}
    assert warp_error(previous, current, **still) == pytest.approx(2 / 400)
    assert warp_error(previous, current, **still, crop=5) == pytest.approx(1 / 100)
    visible[10, 10] = False
    assert warp_error(previous, current, **still, crop=5) == 0
    assert math.isnan(warp_error(previous, current, backward=still["backward"], visible=visible & False))


def test_warp_error_refuses_other_sizes():
    frame = np.zeros((20, 20))
    with pytest.raises(DataError, match="of one size"):
        warp_error(frame, frame, backward=constant_flow(0, 0, 20, 16), visible=np.ones((20, 20), bool))


def test_temporal_profile_stacks_one_row():
    frames = np.arange(4 * 5 * 6 * 3).reshape(4, 5, 6, 3)
    np.testing.assert_array_equal(temporal_profile(iter(frames), row=2), frames[:, 2])
    with pytest.raises(ConfigError, match="expected a row from 0 to 4, got 5"):
        temporal_profile(frames, row=5)
    with pytest.raises(DataError, match="at least one frame"):
        temporal_profile([], row=0)


@pytest.fixture
def clips(tmp_path, texture):
    """A panned clip with no flow, the same one with exact flow, and one of a single frame."""
    folder = tmp_path / "clips"
    pan = np.stack([np.repeat(grey(window(texture, right=2 * t))[..., None], 3, axis=2) for t in range(3)])
    entries = {name: write_clip(folder / f"{name}.npy", pan) for name in ("estimated", "made")}
    entries["single"] = write_clip(folder / "single.npy", pan[:1])
    backward = np.stack([constant_flow(-2, 0)] * 2)
    visible = np.stack([is_inside(flow) for flow in backward])
    np.savez(folder / "made.flow.npz", backward=backward, visible=visible)
    entries["made"]["flow"] = "made.flow.npz"
    manifest = {"dataset": "pans", "spec": {}, "licence": "CC0-1.0", "clips": entries}
    write_json(folder / "manifest.json", manifest)
    return folder / "manifest.json"


def test_flow_dataset_takes_exact_flow_or_estimates_it(clips, tmp_path):
    manifest = tmp_path / "flow" / "manifest.json"
    write_flow_dataset(clips, manifest, workers=2)
    made, estimated = open_flow(manifest, "made"), open_flow(manifest, "estimated")
    assert (made.kind, estimated.kind) == ("exact", "dis")
    np.testing.assert_array_equal(made.backward[1], constant_flow(-2, 0))
    np.testing.assert_array_equal(made.visible[0], is_inside(constant_flow(-2, 0)))
    assert estimated.backward.shape == (2, HEIGHT, WIDTH, 2) and estimated.backward.dtype == np.float32
    np.testing.assert_allclose(np.median(estimated.backward[1], axis=(0, 1)), [-2, 0], atol=0.1)
    assert estimated.visible[:, 16:-16, 16:-16].mean() > 0.9 and not estimated.visible[:, :, 0].any()
    assert open_flow(manifest, "single").visible.shape == (0, HEIGHT, WIDTH)
    expected = ["estimated", "made", "single"]
    files = [f"{clip}.{kind}.npy" for clip in expected for kind in ("backward", "visible")]
    assert sorted(path.name for path in manifest.parent.iterdir()) == sorted([*files, "manifest.json"])


def test_flow_does_not_depend_on_the_number_of_workers(clips, tmp_path):
    for workers in (1, 3):
        write_flow_dataset(clips, tmp_path / str(workers) / "manifest.json", workers=workers)
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "3" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"backward": np.zeros((2, HEIGHT, WIDTH, 2), np.float32)},
            "made.flow.npz: expected an .npz of backward",
        ),
        (
            {"backward": np.zeros((2, 4, 4, 2), np.float32), "visible": np.ones((2, 4, 4), bool)},
            r"made.flow.npz: expected float32 \(2, 96, 128, 2\)",
        ),
        (
            {"backward": np.zeros((2, HEIGHT, WIDTH, 2)), "visible": np.ones((2, HEIGHT, WIDTH), bool)},
            "got float64",
        ),
    ],
)
def test_exact_flow_is_checked(clips, tmp_path, arrays, message):
    np.savez(clips.parent / "made.flow.npz", **arrays)
    with pytest.raises(DataError, match=message):
        write_flow_dataset(clips, tmp_path / "flow" / "manifest.json")
    assert not (tmp_path / "flow" / "manifest.json").exists()


def test_open_flow_names_what_is_missing(clips, tmp_path):
    manifest = tmp_path / "flow" / "manifest.json"
    with pytest.raises(DataError, match="expected a manifest, but there is none"):
        open_flow(manifest, "made")
    write_flow_dataset(clips, manifest)
    with pytest.raises(DataError, match="expected the flow of clip other, but there is none"):
        open_flow(manifest, "other")
    (manifest.parent / "made.visible.npy").unlink()
    with pytest.raises(DataError, match=r"made.visible.npy: expected a complete .npy file"):
        open_flow(manifest, "made")
    np.save(manifest.parent / "made.visible.npy", np.ones((2, 4, 4), bool))
    with pytest.raises(DataError, match=r"made.backward.npy: expected float32 \(2, 4, 4, 2\)"):
        open_flow(manifest, "made")
    manifest.write_text("{")
    with pytest.raises(DataError, match="expected JSON, got"):
        open_flow(manifest, "made")
