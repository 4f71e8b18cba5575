import cv2
import numpy as np
import pytest

from rlsp.data import camera_moves, images
from rlsp.errors import ConfigError


def analytic_photograph(height=200, width=220):
    """Smooth waves in three channels: bends too little between pixels for a sampler to go wrong."""
    rows, columns = np.mgrid[:height, :width].astype(float)
    waves = [
        np.sin(columns / 5) * np.cos(rows / 7),
        np.cos(columns / 6 + rows / 9),
        np.sin(rows / 5 - columns / 11),
    ]
    return np.rint(128 + 100 * np.stack(waves, -1)).astype(np.uint8)


MOVES = {
    "pan": {},
    "zoom": {"zoom": 0.01},
    "rotation": {"rotation": 0.7},
    "all": {"random_direction": True, "zoom": 0.004, "rotation": -0.4, "jitter": 0.5},
}


def render(seed=1, **settings):
    rng = np.random.default_rng(seed)
    return camera_moves.render_move(analytic_photograph(), frames=6, size=(64, 72), rng=rng, **settings)


def warp_previous(frame, flow):
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(frame.astype(np.float32), columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_CUBIC)


def warp_errors(clip, backward, visible):
    return [
        np.abs(warp_previous(clip[t - 1], backward[t - 1]) - clip[t])[visible[t - 1]].mean()
        for t in range(1, len(clip))
    ]


@pytest.mark.parametrize("move", MOVES)
def test_flow_leads_back_to_the_frame_before(move):
    clip, backward, visible = render(**MOVES[move])
    assert clip.dtype == np.uint8 and clip.shape == (6, 64, 72, 3)
    assert backward.dtype == np.float32 and backward.shape == (5, 64, 72, 2)
    assert visible.dtype == bool and 0.9 < visible.mean() < 1
    visible[:, :2], visible[:, -2:], visible[:, :, :2], visible[:, :, -2:] = False, False, False, False
    right = max(warp_errors(clip, backward, visible))
    assert right < 1.0  # grey levels: rounding of both frames to 8 bits and the cubic kernel's own error
    assert min(warp_errors(clip, -backward, visible)) > 8 * right
    assert min(warp_errors(clip, backward[..., ::-1], visible)) > 4 * right


def test_flow_equals_brute_force_tracking():
    rng = np.random.default_rng(3)
    angles, sizes = rng.uniform(-0.1, 0.1, 3), rng.uniform(0.9, 1.1, 3)
    transforms = np.array(
        [
            [
                [s * np.cos(a), -s * np.sin(a), rng.uniform(5, 9)],
                [s * np.sin(a), s * np.cos(a), rng.uniform(5, 9)],
            ]
            for a, s in zip(angles, sizes, strict=True)
        ]
    )
    flow = camera_moves.exact_flow(transforms, (5, 7))
    for t in (1, 2):
        for row in range(5):
            for column in range(7):
                place = transforms[t] @ [column, row, 1]
                before = np.linalg.solve(transforms[t - 1][:, :2], place - transforms[t - 1][:, 2])
                np.testing.assert_allclose(flow[t - 1, row, column], before - [column, row], atol=1e-9)


def test_pan_moves_at_the_speed_asked_for():
    _, backward, _ = render(jitter=0.0)
    assert np.ptp(backward, axis=(0, 1, 2)).max() == 0
    np.testing.assert_array_equal(backward[0, 0, 0], [1.0, 0.25])  # the camera moves right: so does its view


def test_random_direction_draws_every_sign():
    flows = [render(seed, jitter=0.0, random_direction=True)[1][0, 0, 0] for seed in range(20)]
    np.testing.assert_array_equal(np.abs(flows), np.tile([1.0, 0.25], (20, 1)))
    assert len({tuple(np.sign(flow)) for flow in flows}) == 4


def test_pan_by_whole_pixels_shifts_the_picture_exactly():
    clip, backward, visible = render(pan=(2.0, 1.0), jitter=0.0)
    dx, dy = backward[0, 0, 0].astype(int)
    rows, columns = np.nonzero(visible[0])
    np.testing.assert_array_equal(clip[1][rows, columns], clip[0][rows + dy, columns + dx])


def test_jitter_is_of_the_speed():
    rng = np.random.default_rng(0)
    photograph = np.zeros((300, 900, 3), np.uint8)
    _, backward, _ = camera_moves.render_move(
        photograph, frames=400, size=(8, 8), pan=(1.0, 0.25), jitter=0.12, rng=rng
    )
    speed = np.abs(backward[:, 0, 0].mean(axis=0))
    np.testing.assert_allclose(speed, [1.0, 0.25], atol=0.03)
    np.testing.assert_allclose(backward[:, 0, 0].std(axis=0), 0.12, atol=0.015)


def test_zoom_and_rotation_have_the_rate_asked_for():
    _, backward, _ = render(pan=(0.0, 0.0), jitter=0.0, zoom=0.01)
    slope = (backward[0, :, -1, 0] - backward[0, :, 0, 0]) / 71
    assert np.allclose(slope, 0.01) or np.allclose(slope, 1 / 1.01 - 1, atol=1e-6)
    _, backward, _ = render(pan=(0.0, 0.0), jitter=0.0, rotation=2.0)
    slope = (backward[0, -1, :, 0] - backward[0, 0, :, 0]) / 63
    np.testing.assert_allclose(np.abs(slope), np.sin(np.deg2rad(2.0)), rtol=1e-5)


def test_clip_stays_sharp():
    rng = np.random.default_rng(0)
    photograph = np.kron(rng.integers(0, 2, (50, 50, 1)), np.ones((4, 4, 3))).astype(np.uint8) * 255
    clip, _, _ = camera_moves.render_move(photograph, frames=3, size=(64, 64), rng=rng)
    steps = np.abs(np.diff(clip[1].astype(int), axis=1)).max(axis=(0, 2))
    assert np.quantile(steps, 0.8) > 150  # every fourth step is an edge of 255 levels


def test_same_seed_same_clip_whatever_else_is_made():
    photograph = analytic_photograph()

    def clip(*key):
        rng = camera_moves.seeded_generator(*key)
        return camera_moves.render_move(photograph, frames=3, size=(32, 32), rng=rng)[0]

    first = clip(0, "coffee", 1)
    np.testing.assert_array_equal(first, clip(0, "coffee", 1))
    for other in [(1, "coffee", 1), (0, "coffee", 2), (0, "coffe", 1)]:
        assert not np.array_equal(first, clip(*other))


def test_camera_never_leaves_the_photograph():
    # outside of it lies black, so any black pixel would tell
    photograph = np.full((84, 92, 3), 200, np.uint8)
    for seed in range(20):
        clip, _, _ = camera_moves.render_move(
            photograph, frames=6, size=(64, 72), rotation=0.5, rng=np.random.default_rng(seed)
        )
        assert np.all(clip == 200)


def test_photograph_may_be_wider_than_opencv_takes():
    photograph = np.tile(analytic_photograph(90, 80), (1, 500, 1))
    clip, _, _ = camera_moves.render_move(
        photograph, frames=3, size=(64, 72), start=(39000.5, 45.5), jitter=0.0, supersample=1,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    np.testing.assert_array_equal(clip[0], photograph[45 - 31 : 45 + 33, 39000 - 35 : 39000 + 37])


def test_too_small_photograph_is_refused():
    with pytest.raises(ConfigError, match=r"at least \d+x\d+ px .* got 70x60"):
        camera_moves.render_move(
            np.zeros((60, 70, 3), np.uint8), frames=6, size=(64, 64), rng=np.random.default_rng(0)
        )


def test_start_places_the_first_frame():
    photograph = analytic_photograph()
    clip, _, _ = render(start=(100 + 0.5, 90 + 0.5), jitter=0.0, supersample=1)
    np.testing.assert_array_equal(clip[0], photograph[90 - 31 : 90 + 33, 100 - 35 : 100 + 37])
    with pytest.raises(ConfigError, match="start"):
        render(start=(10.0, 90.0))


def test_photographs_come_from_the_installed_package():
    coffee, brick = images.read_photograph("coffee.png"), images.read_photograph("brick.png")
    assert coffee.shape == (400, 600, 3) and coffee.dtype == np.uint8
    assert brick.shape == (512, 512, 3) and np.all(brick[..., 0] == brick[..., 2])
    with pytest.raises(ConfigError, match="nothing.png"):
        images.read_photograph("nothing.png")
