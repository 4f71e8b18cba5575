import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_checkpoints import made_arrays, slow_masked_crc, write_checkpoint
from made_degradations import GAUSSIAN
from scipy.signal import correlate

from rlsp.config.checkpoints import CHECKPOINTS
from rlsp.data.clips import list_frames, read_pictures
from rlsp.data.degradation import degrade_gaussian
from rlsp.data.images import write_png
from rlsp.errors import DataError
from rlsp.models import build_model
from rlsp.models.weights import load_weights
from rlsp.released.conversion import convert_checkpoint, convert_pytorch_state
from rlsp.released.exactness import check_exactness
from rlsp.released.tensorflow import masked_crc32c, read_checkpoint

pytestmark = pytest.mark.numerical

SPEC = {"arch": "rlsp", "layers": 3, "filters": 4, "output": "y"}
FULL_FRAMES = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}  # Vid4


@pytest.fixture
def checkpoint(tmp_path):
    write_checkpoint(tmp_path / "ckpt", made_arrays())
    return tmp_path / "ckpt"


def convert(prefix, path, spec=SPEC):
    convert_checkpoint(
        prefix, path, spec=spec, degradation=GAUSSIAN, source="someone/RLSP@abc", licence="CC BY-NC-SA 4.0"
    )
    return load_weights(path)


# ---- reading ------------------------------------------------------------------------------------


def test_checksum_is_castagnoli_masked():
    # RFC 3720, appendix B.4: CRC-32C of 32 bytes of zeros and of 32 bytes 0..31
    for data, crc in ((bytes(32), 0x8A9136AA), (bytes(range(32)), 0x46DD794E)):
        masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
        assert masked_crc32c(data) == masked == slow_masked_crc(data)


def test_reads_names_shapes_and_values(checkpoint):
    arrays, expected = read_checkpoint(checkpoint), made_arrays()
    assert sorted(arrays) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)


def test_flipped_byte_of_data_names_the_array(checkpoint):
    path = Path(f"{checkpoint}.data-00000-of-00001")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data-00000-of-00001: layer3/kernel/Adam_1: expected checksum"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("position", [0, 3, 40, 500, -100, -60, -48, -46, -1])
def test_flipped_byte_of_index(checkpoint, position):
    path = Path(f"{checkpoint}.index")
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"ckpt\.index: expected the index of a TensorFlow checkpoint"
    ) as caught:
        read_checkpoint(checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, -4])
def test_truncated_file(checkpoint, part, kept):
    path = Path(f"{checkpoint}.{part}")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept == 0.5 else kept])
    with pytest.raises(DataError, match=rf"ckpt\.{part}: "):
        read_checkpoint(checkpoint)


def test_longer_data_file(checkpoint):
    with open(f"{checkpoint}.data-00000-of-00001", "ab") as file:
        file.write(bytes(4))
    with pytest.raises(DataError, match="bytes of arrays"):
        read_checkpoint(checkpoint)


def test_missing_file(checkpoint):
    Path(f"{checkpoint}.index").unlink()
    with pytest.raises(DataError, match=r"ckpt\.index: expected a file of the checkpoint"):
        read_checkpoint(checkpoint)


# ---- converting TensorFlow checkpoints ----------------------------------------------------------


def same_convolution(picture, kernel, bias):
    """3x3 convolution as TensorFlow's 'same': picture (h, w, in), kernel (3, 3, in, out)."""
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)))
    maps = [correlate(padded, kernel[..., o], mode="valid")[..., 0] + b for o, b in enumerate(bias)]
    return np.stack(maps, axis=-1)


def space_to_depth(picture):
    """(4h, 4w, C) to (h, w, 16 C), channels in the order row, column, colour."""
    return np.concatenate([picture[r::4, c::4] for r in range(4) for c in range(4)], axis=-1)


def depth_to_space(packed):
    height, width, channels = packed.shape
    picture = np.empty((4 * height, 4 * width, channels // 16))
    for i in range(16):
        picture[i // 4 :: 4, i % 4 :: 4] = packed[..., i * channels // 16 : (i + 1) * channels // 16]
    return picture


def neighbours(clip):
    padded = np.concatenate([clip[:1], clip, clip[-1:]])
    return [np.concatenate(padded[t : t + 3], axis=-1) for t in range(len(clip))]


def tensorflow_rlsp(arrays, clip):
    """The graph of the released TensorFlow code, slowly, in numpy: clip (T, h, w, 3) to (T, 4h, 4w)."""
    layer = [(arrays[f"layer{i}/kernel"].astype(float), arrays[f"layer{i}/bias"]) for i in range(4)]
    height, width = clip.shape[1:3]
    state, previous, restored = np.zeros((height, width, 4)), np.zeros((4 * height, 4 * width, 1)), []
    for t, frames in enumerate(neighbours(clip.astype(float))):
        x = np.concatenate([frames, state, space_to_depth(previous)], axis=-1)
        for kernel, bias in layer[:2]:
            x = np.maximum(same_convolution(x, kernel, bias), 0)
        state = np.maximum(same_convolution(x, *layer[2]), 0)
        luma = clip[t].astype(float) @ [65.738 / 256, 129.057 / 256, 25.064 / 256] + 16
        previous = depth_to_space(same_convolution(x, *layer[3]) + luma[..., None])
        restored.append(previous[..., 0])
    return np.stack(restored)


def test_converted_weights_compute_what_the_graph_computes(checkpoint, tmp_path):
    model, metadata = convert(checkpoint, tmp_path / "model.safetensors")
    clip = np.random.default_rng(1).integers(0, 256, (3, 5, 6, 3))
    with torch.no_grad():
        restored = model(torch.tensor(clip).permute(0, 3, 1, 2)[None].float())[0, :, 0].numpy()
    np.testing.assert_allclose(restored, tensorflow_rlsp(made_arrays(), clip), rtol=1e-4, atol=1e-2)
    assert metadata == {
        "model": SPEC,
        "degradation": GAUSSIAN,
        "source": "someone/RLSP@abc",
        "licence": "CC BY-NC-SA 4.0",
    }


def test_wrong_shape_names_the_array(tmp_path):
    arrays = made_arrays()
    arrays["layer1/kernel"] = arrays["layer1/kernel"][:, :, :3]
    write_checkpoint(tmp_path / "ckpt", arrays)
    with pytest.raises(DataError, match=r"ckpt\.index: layer1/kernel: expected shape \(3, 3, 4, 4\), got"):
        convert(tmp_path / "ckpt", tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_missing_array(tmp_path):
    arrays = made_arrays()
    del arrays["layer3/bias"]
    write_checkpoint(tmp_path / "ckpt", arrays)
    with pytest.raises(
        DataError, match=r"layer3/bias: expected an array of shape \(16,\), but there is none"
    ):
        convert(tmp_path / "ckpt", tmp_path / "model.safetensors")


def test_one_layer_too_many(tmp_path):
    arrays = made_arrays() | {"layer9/bias": np.zeros(4, np.float32)}
    write_checkpoint(tmp_path / "ckpt", arrays)
    with pytest.raises(DataError, match="layer9/bias: expected no such array"):
        convert(tmp_path / "ckpt", tmp_path / "model.safetensors")


@pytest.mark.parametrize("change", [{"output": "rgb"}, {"state": False}, {"filters": 5}])
def test_other_model(checkpoint, tmp_path, change):
    with pytest.raises(DataError, match="expected"):
        convert(checkpoint, tmp_path / "model.safetensors", SPEC | change)


# ---- converting PyTorch weights -----------------------------------------------------------------


def pytorch_rlsp(state, clip):
    """The released PyTorch module, slowly, in numpy: clip (T, h, w, 3) to (T, 4h, 4w, 3)."""

    def convolve(x, name):
        kernel = state[f"{name}.weight"].numpy().astype(float).transpose(2, 3, 1, 0)
        return same_convolution(x, kernel, state[f"{name}.bias"].numpy())

    height, width = clip.shape[1:3]
    hidden, previous, restored = np.zeros((height, width, 4)), np.zeros((4 * height, 4 * width, 3)), []
    for t, frames in enumerate(neighbours(clip.astype(float))):
        x = np.concatenate([frames, space_to_depth(previous), hidden], axis=-1)
        for name in ("conv1", "conv_list.0"):
            x = np.maximum(convolve(x, name), 0)
        x = convolve(x, "conv_out")
        previous = depth_to_space(x[..., :48] + np.tile(clip[t], 16))
        hidden = np.maximum(x[..., 48:], 0)
        restored.append(previous)
    return np.stack(restored)


PTH = Path("model.pth")


def made_pytorch_state():
    torch.manual_seed(0)
    shapes = {"conv1": (4, 9 + 48 + 4), "conv_list.0": (4, 4), "conv_out": (48 + 4, 4)}
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(*shape, 3, 3) / 10, torch.randn(shape[0])
    return state


def test_pytorch_weights_compute_what_the_module_computes():
    spec = SPEC | {"output": "rgb"}
    model = build_model(spec)
    model.load_state_dict(convert_pytorch_state(made_pytorch_state(), spec, PTH))
    clip = np.random.default_rng(1).integers(0, 256, (3, 5, 6, 3))
    with torch.no_grad():
        restored = model(torch.tensor(clip).permute(0, 3, 1, 2)[None].float())[0].permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(restored, pytorch_rlsp(made_pytorch_state(), clip), rtol=1e-4, atol=1e-2)


def test_pytorch_state_of_another_model():
    with pytest.raises(DataError, match=r"conv_list\.1\.weight: expected an array of shape \(4, 4, 3, 3\)"):
        convert_pytorch_state(made_pytorch_state(), SPEC | {"output": "rgb", "layers": 4}, PTH)
    with pytest.raises(DataError, match="output rgb"):
        convert_pytorch_state(made_pytorch_state(), SPEC, PTH)


# ---- exactness ----------------------------------------------------------------------------------


def write_frames(folder, frames):
    """Write the luma pictures of one clip, with their manifest."""
    for t, frame in enumerate(frames):
        write_png(folder / "walk" / "y" / f"{t:08d}.png", frame)
    paths = [f"walk/y/{t:08d}.png" for t in range(len(frames))]
    return write_json(folder / "manifest.json", {"walk": paths})


def write_json(path, luma):
    clips = {clip: {"rgb": None, "y": paths and [str(p) for p in paths]} for clip, paths in luma.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"run": "made", "dataset": "vid4", "clips": clips}))
    return path


@pytest.fixture
def frames():
    return np.random.default_rng(2).integers(1, 255, (4, 100, 120), dtype=np.uint8)


def test_equal_frames_and_one_level_pass(tmp_path, frames):
    ours = frames.copy()
    ours[2, 7, 5] += 1
    report = tmp_path / "reports" / "exactness.csv"
    check_exactness(write_frames(tmp_path / "a", ours), write_frames(tmp_path / "b", frames), report)
    expected = ["clip,frame,max_difference,differing_pixels,pixels"]
    expected += [f"walk,{t},{int(t == 2)},{int(t == 2)},12000" for t in range(4)]
    assert report.read_text().splitlines() == expected


@pytest.mark.parametrize("level, pixels", [(2, 1), (-1, 9)])
def test_inexact_frames_stop_and_leave_the_report(tmp_path, frames, level, pixels):
    ours = frames.copy()
    ours[1, 50, 10 : 10 + pixels] = np.where(frames[1, 50, 10 : 10 + pixels] > 127, frames[1, 50, 10], 0)
    ours[1, 50, 10 : 10 + pixels] = frames[1, 50, 10 : 10 + pixels].astype(int) + level
    report = tmp_path / "exactness.csv"
    with pytest.raises(
        DataError, match=rf"clip walk: .* {abs(level)} in frame 1 \({pixels} of 12000"
    ) as caught:
        check_exactness(write_frames(tmp_path / "a", ours), write_frames(tmp_path / "b", frames), report)
    assert "\n" not in str(caught.value)
    assert f"walk,1,{abs(level)},{pixels},12000" in report.read_text()


@pytest.mark.parametrize("full_frames, released", [(None, 4), ({"walk": 4}, 3), ({"walk": 3}, 4)])
def test_last_frame_of_a_cut_clip_is_left_out(tmp_path, frames, full_frames, released):
    ours = frames[:3].copy()
    ours[2] = 0
    a, b = write_frames(tmp_path / "a", ours), write_frames(tmp_path / "b", frames[:released])
    check_exactness(a, b, tmp_path / "r.csv", full_frames=full_frames)
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + 2
    with pytest.raises(DataError, match="in frame 2"):
        check_exactness(a, write_frames(tmp_path / "c", frames[:3]), tmp_path / "r.csv")


def test_manifests_that_cannot_be_compared(tmp_path, frames):
    good, report = write_frames(tmp_path / "a", frames), tmp_path / "r.csv"
    with pytest.raises(DataError, match="there is none"):
        check_exactness(tmp_path / "no.json", good, report)
    with pytest.raises(DataError, match=r"expected the clips \['walk'\], got \['city'\]"):
        check_exactness(write_json(tmp_path / "b.json", {"city": ["x.png"]}), good, report)
    with pytest.raises(DataError, match="clip walk: expected luma pictures"):
        check_exactness(write_json(tmp_path / "b.json", {"walk": None}), good, report)
    with pytest.raises(DataError, match="at least 2 frames"):
        check_exactness(write_frames(tmp_path / "c", frames[:1]), good, report)
    with pytest.raises(DataError, match=r"00000000\.png: expected shape \(100, 120\), got \(100, 80\)"):
        check_exactness(write_frames(tmp_path / "d", frames[:, :, :80]), good, report)
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(DataError, match="b.json: expected a map of keys, got list"):
        check_exactness(tmp_path / "b.json", good, report)


# ---- the real files -----------------------------------------------------------------------------


@pytest.fixture
def released(mirror):
    """Folders of RLSP's release, and of the ground truth of Vid4."""
    (rlsp,), (vid4,) = mirror.glob("*/dariofuoli/RLSP/*"), mirror.glob("*/yhjo09/VSR-DUF/*/inputs/G")
    return rlsp, vid4


@pytest.mark.mirror
@pytest.mark.parametrize("name, parameters", [("7-48", 163_216), ("7-64", 282_128)])
def test_released_checkpoints_are_read(released, tmp_path, name, parameters):
    spec = {"arch": "rlsp", "layers": 7, "filters": int(name[2:]), "output": "y"}
    model, _ = convert(
        released[0] / "evaluate/checkpoints" / CHECKPOINTS[name], tmp_path / "m.safetensors", spec
    )
    assert sum(tensor.numel() for tensor in model.parameters()) == parameters


@pytest.mark.slow
@pytest.mark.mirror
def test_released_weights_give_the_released_pixels(released, tmp_path):
    spec = {"arch": "rlsp", "layers": 7, "filters": 64, "output": "y"}
    prefix = released[0] / "evaluate/checkpoints" / CHECKPOINTS["7-64"]
    model, _ = convert(prefix, tmp_path / "model.safetensors", spec)
    ours, theirs = {}, {}
    for clip in FULL_FRAMES:
        hr = np.stack(list(read_pictures(list_frames(released[1] / clip)[:4])))
        lr = torch.tensor(degrade_gaussian(hr, scale=4)).permute(0, 3, 1, 2)[None].float()
        with torch.no_grad():
            restored = model(lr)[0, :, 0].round().clamp(0, 255).byte().numpy()
        ours[clip] = [tmp_path / clip / f"{t:08d}.png" for t in range(len(restored))]
        for path, frame in zip(ours[clip], restored, strict=True):
            write_png(path, frame)
        theirs[clip] = list_frames(released[0] / "frames/7-64" / f"{clip}_y")
    a, b = write_json(tmp_path / "a.json", ours), write_json(tmp_path / "b.json", theirs)
    check_exactness(a, b, tmp_path / "exactness.csv", full_frames=FULL_FRAMES)
    assert len((tmp_path / "exactness.csv").read_text().splitlines()) == 1 + 4 * 3
