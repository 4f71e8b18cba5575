"""One's own video upscaled: streamed frame by frame, with its sound, colours, timing and orientation."""

import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from rlsp.config.runs import RELEASED
from rlsp.config.specs.degradations import BicubicDown, Gaussian, parse_degradation
from rlsp.config.study_files import read_config
from rlsp.data.cuts import split_scenes
from rlsp.data.streams import say
from rlsp.data.video import (
    FORMATS,
    PictureSource,
    PictureTarget,
    VideoSource,
    VideoTarget,
    picture_source,
    picture_target,
    video_source,
    video_target,
)
from rlsp.devices import claim_device, gpu_errors
from rlsp.errors import ConfigError, DataError
from rlsp.inference.execution import fastest_execution
from rlsp.inference.restoration import WHEN_FULL
from rlsp.inference.restorer import Restorer
from rlsp.models.weights import expected_input, load_weights

MOST_CUTS = 10  # that are named


def upscale(
    source: Path,
    target: Path,
    *,
    weights: str,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    data_root: Path,
    crf: float = 16,
    frame_rate: Fraction | int = 25,
    find_cuts: bool = True,
    keep_going: bool = False,
    show_progress: bool = True,
) -> None:
    """Upscale a video file or a folder of pictures, in memory that does not grow with its length.

    What the weights expect as input, whose licence they carry, where scenes were cut and what of a video could not be
    read is said on stderr.

    Parameters
    ----------
    source : Path
        A video file, or a folder of equally large PNG files.
    target : Path
        A video file (.mp4, .m4v, .mov or .mkv; H.264, replaced when it exists), or a folder that does not
        exist or is empty, for PNG files: a name without suffix, or an existing folder. It appears only
        when it is complete.
    weights : str
        A file of :mod:`rlsp.models.weights`, or ``released:7-48`` or ``released:7-64``, which are downloaded once.
    device : {"auto", "cpu", "cuda"}
        "auto" takes a GPU when there is one.
    precision : str
        Of the network; "auto" takes bfloat16 where the device multiplies in it, which changes PSNR by less than
        0.01 dB in the mean over Vid4; see :func:`rlsp.inference.execution.fastest_execution`.
    threads : int, optional
        CPU threads of the model, the decoder and the encoder; by default what each likes best.
    data_root : Path
        Folder of downloads and of released weights.
    crf : float
        Quality of the H.264 stream (x264's constant rate factor: less is better, 0 lossless).
    frame_rate : Fraction or int
        Frames per second of a video made from a folder of pictures; videos keep their own timing.
    find_cuts : bool
        Whether each scene is restored by itself, as a clip of its own, see :func:`rlsp.data.cuts.find_cuts`.
    keep_going : bool
        Whether a damaged video is no error, once all that can be read of it is upscaled.
    show_progress : bool
        Whether a bar shows the frames done and the frames per second on stderr.

    Raises
    ------
    ConfigError
        Source and target are the same, the target is of no known kind, the released name is unknown, or the
        device does not have the precision.
    DataError
        The source is missing, holds no video or cannot be decoded, the weights cannot be read, or the target cannot
        be written. Or the video is damaged: then the target holds what could be read.
    DownloadError
        Released weights cannot be had.
    """
    source, target, data_root = (Path(path).expanduser() for path in (source, target, data_root))
    is_folder = target.is_dir() or not target.suffix
    _check_paths(source, target, is_folder)
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    path = find_weights(weights, data_root)
    model, metadata = load_weights(path)
    phase = expected_input(path, metadata).first_pixel
    say(f"{weights}: {expectation(metadata['degradation'])}")
    if metadata.get("licence"):
        say(f"{weights}: licence {metadata['licence']}")
    open_source = picture_source(source, frame_rate) if source.is_dir() else video_source(source, threads)
    with (
        claim_device(device) as where,
        gpu_errors(where, "run it again", when_full=WHEN_FULL),
        open_source as reader,
    ):
        restorer = Restorer(model, device=where, execution=fastest_execution(where, precision))
        open_target = picture_target(target) if is_folder else video_target(target, reader, crf, threads)
        with open_target as writer:
            frames = reader.frames(writer.copy)
            scenes = split_scenes(frames) if find_cuts else iter((frames,))
            _upscale_scenes(restorer, scenes, phase, reader, writer, source, show_progress)
    if reader.damage and keep_going:
        say(f"{source}: warning: damaged: {reader.damage}")
    elif reader.damage:
        raise DataError(
            f"{source}: damaged: {reader.damage}; {target} holds what could be read (--keep-going makes this a warning)"
        )


def _upscale_scenes(
    restorer: Restorer,
    scenes: Iterator[Iterator[np.ndarray]],
    phase: float,
    reader: PictureSource | VideoSource,
    writer: PictureTarget | VideoTarget,
    source: Path,
    show_progress: bool,
) -> None:
    """Restore scene by scene and write each frame with its time; tell where scenes were cut."""
    cuts, count = [], 0
    with tqdm(total=reader.total, unit="frame", disable=not show_progress) as shown:
        for scene in scenes:
            cuts += [count] if count else []
            for picture, _ in restorer.pictures(scene, phase, name=str(source)):
                writer.write(picture, *reader.stamps.popleft())
                count += 1
                shown.update()
    if not count:
        raise DataError(f"{source}: expected at least one frame, got none")
    if cuts:
        named = ", ".join(map(str, cuts[:MOST_CUTS])) + (", ..." if len(cuts) > MOST_CUTS else "")
        plural = "s" if len(cuts) > 1 else ""
        say(
            f"{source}: {len(cuts)} scene cut{plural}, before frame{plural} {named}; each scene was restored by itself"
        )


def _check_paths(source: Path, target: Path, is_folder: bool) -> None:
    """Refuse a source or a target that cannot work, before anything takes time."""
    if not source.exists():
        raise DataError(f"{source}: expected a video file or a folder of PNG files, but there is none")
    if target.exists() and os.path.samefile(source, target):
        raise ConfigError(f"{target}: expected another target than the source, got the same")
    if not is_folder and target.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{target}: expected a video ending in {', '.join(FORMATS)} or a folder, whose name has no suffix"
        )
    try:
        if target.is_dir() and any(target.iterdir()):
            raise DataError(f"{target}: expected a new or an empty folder for the PNG files, got a full one")
        if is_folder and target.exists() and not target.is_dir():
            raise DataError(f"{target}: expected a folder or a video's suffix, got a file without one")
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise DataError(f"{target}: cannot be written: {where}{error.strerror}") from None


# ---- weights -----------------------------------------------------------------------------------


def find_weights(weights: str, data_root: Path) -> Path:
    """Find weights; the authors' are downloaded and converted the first time.

    Parameters
    ----------
    weights : str
        A file of :mod:`rlsp.models.weights`, or ``released:<name>``.
    data_root : Path
        The checkpoints are downloaded to ``downloads`` in it, and kept converted in ``released``.

    Returns
    -------
    Path
        A safetensors file.

    Raises
    ------
    ConfigError
        Nothing is named, or there is no released checkpoint of that name.
    DownloadError, DataError
        The checkpoint cannot be had, or is not what it should be.
    """
    if not weights:
        raise ConfigError("weights: expected a .safetensors file or released:<name>, got ''")
    if not str(weights).startswith(RELEASED):
        return Path(weights).expanduser()
    from rlsp.config.checkpoints import checkpoint_facts
    from rlsp.data.sources import fetch
    from rlsp.released.conversion import convert_checkpoint

    name = weights.removeprefix(RELEASED)
    facts = checkpoint_facts(name)
    path = data_root / "released" / f"{name}.safetensors"
    if path.exists():
        return path
    catalogue = read_config()
    download, prefix = facts.pop("download"), facts.pop("prefix")
    manifest = data_root / "downloads" / download / "manifest.json"
    fetch(download, catalogue["downloads"][download], manifest)
    degradation = Gaussian.parse(catalogue["degradations"]["gaussian"])
    convert_checkpoint(manifest.parent / prefix, path, degradation=degradation.dump(), **facts)
    return path


def expectation(degradation: dict[str, Any]) -> str:
    """Say what frames weights expect, and what that means for ordinary video.

    Parameters
    ----------
    degradation : dict
        Resolved degradation that the weights were trained for.
    """
    spec = parse_degradation(degradation)
    if isinstance(spec, BicubicDown):
        return "expects bicubically reduced frames; ordinary video fits"
    # the centre of LR pixel 0 is at HR (scale - 1) / 2 in ordinary video
    shift = (spec.scale - 1) / 2 - spec.first_pixel
    where = "up and left" if shift > 0 else "down and right"
    if isinstance(spec, Gaussian):
        made = f"blurred with sigma {spec.sigma:g}"
        effect = "sharper than that: the result is over-sharpened"
    else:
        made, effect = f"made by {spec.kind}", "made in another way: the result may be poor"
    return f"expects frames {made} and sampled at phase {spec.first_pixel:g}; ordinary video is {effect}" + (
        f" and shifted by {abs(shift):g} output pixels {where}" if shift else ""
    )
