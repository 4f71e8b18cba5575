"""Read, write, pack and check clips: PNG folders, video files, and arrays on disk."""

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np

from rlsp.data.decoding import read_video
from rlsp.data.images import PICTURE_FORMATS, read_frame, write_png
from rlsp.errors import DataError
from rlsp.files import file_sha256, read_json, replace_when_complete

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .h264 .h265 .hevc .m2ts .m2v .m4v .mjpeg .mkv .mov .mp4 .mpe .mpeg "
    ".mpg .mts .mxf .ogv .qt .ts .vob .webm .wmv .y4m".split()
)


# ---- sequences of frames -----------------------------------------------------------------------


def list_frames(folder: Path) -> list[Path]:
    """Pictures of a folder in the order of the numbers in their names.

    Raises
    ------
    DataError
        The folder holds no pictures or several kinds of them, or a frame is missing in the middle of the numbering.
    """
    folder = Path(folder)
    files = [file for file in folder.iterdir() if is_picture(file)]
    if not files:
        raise DataError(f"{folder}: expected PNG files or other pictures, got none")
    files.sort(key=lambda file: natural_key(file.stem))
    kinds = {PICTURE_FORMATS[file.suffix.lower()]: file for file in reversed(files)}
    if len(kinds) > 1:
        raise DataError(
            f"{folder}: expected frames of one kind, got {' and '.join(file.name for file in kinds.values())}"
        )
    check_numbering(files)
    return files


def is_picture(file: Path) -> bool:
    """Whether a file is a picture, by its name; hidden ones are not."""
    return file.suffix.lower() in PICTURE_FORMATS and file.name[0] != "."


def natural_key(name: str) -> list[str | int]:
    """Sort key by which frame 9 comes before frame 10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def check_numbering(files: Sequence[PurePath]) -> None:
    """Refuse a gap in names, in their order, that differ in their last number alone.

    Raises
    ------
    DataError
        A number is left out.
    """
    matches = [re.fullmatch(r"(.*?)(\d+)(\D*)", file.stem) for file in files]
    if len(files) < 3 or None in matches or len({(match[1], match[3]) for match in matches}) > 1:
        return
    numbers = [int(match[2]) for match in matches]
    steps = np.diff(numbers)
    step = int(steps.min())
    for index in np.flatnonzero(steps != step):
        raise DataError(
            f"{files[index + 1]}: expected the frame numbered {numbers[index] + step} "
            f"after {files[index].name}, got {numbers[index + 1]}"
        )


def read_frames(source: Path) -> Iterator[np.ndarray]:
    """Read the frames of a clip one after the other, in constant memory.

    Parameters
    ----------
    source : Path
        A folder of equally large pictures, or a video file.

    Yields
    ------
    np.ndarray
        (H, W, 3) uint8 RGB.

    Raises
    ------
    DataError
        Nothing is there, a frame is missing, damaged or of another size, or the video cannot be decoded.
    """
    source = Path(source)
    if source.is_dir():
        yield from read_pictures(list_frames(source))
    elif source.exists():
        yield from read_video(source)
    else:
        raise DataError(f"{source}: expected a folder of pictures or a video file, but there is none")


def read_pictures(files: Iterable[Path]) -> Iterator[np.ndarray]:
    """Read pictures as frames of one clip, (H, W, 3) uint8 RGB each.

    Raises
    ------
    DataError
        A file cannot be read or has another size than the first.
    """
    yield from of_one_size((file, read_frame(file)) for file in files)


def of_one_size(frames: Iterable[tuple[Path | str, np.ndarray]]) -> Iterator[np.ndarray]:
    """Pass on frames, each with its name, that have the size of the first.

    Raises
    ------
    DataError
        A frame has another size.
    """
    first_shape = None
    for file, frame in frames:
        first_shape = first_shape or frame.shape
        if frame.shape != first_shape:
            raise DataError(
                f"{file}: expected {first_shape[1]}x{first_shape[0]} like the other frames, "
                f"got {frame.shape[1]}x{frame.shape[0]}"
            )
        yield frame


# ---- clips on disk -----------------------------------------------------------------------------


def pack_clip(frames: Iterable[np.ndarray], path: Path, *, scale: int) -> dict:
    """Write frames as one memory-mappable array, whatever their number, in constant memory.

    Rows at the bottom and columns at the right that are no multiple of `scale` are dropped.

    Parameters
    ----------
    frames : iterable of np.ndarray
        (H, W, 3) uint8 RGB each, all of one size.
    path : Path
        The ``.npy`` file; it appears under its name only when complete.
    scale : int
        Height and width become multiples of it.

    Returns
    -------
    dict
        The clip's entry for the manifest: file, frames, height, width, dropped_rows, dropped_columns,
        flow (None) and sha256.

    Raises
    ------
    DataError
        There are no frames, or one has another size or type than the first.
    """
    path = Path(path)
    count = 0
    with replace_when_complete(path) as temporary:
        with open(temporary, "wb") as file:
            for frame in frames:
                if count == 0:
                    first_shape = frame.shape
                    height, width = _packed_size(path, frame, scale)
                    data_start = _write_npy_header(file, (0, height, width, 3))
                if frame.shape != first_shape or frame.dtype != np.uint8:
                    raise DataError(
                        f"{path}: frame {count}: expected uint8 {first_shape} like the first frame, "
                        f"got {frame.dtype} {frame.shape}"
                    )
                file.write(np.ascontiguousarray(frame[:height, :width]))
                count += 1
            if count == 0:
                raise DataError(f"{path}: expected at least one frame, got none")
            file.seek(0)
            if _write_npy_header(file, (count, height, width, 3)) != data_start:
                raise DataError(f"{path}: expected a header of {data_start} bytes for {count} frames")
        sha256 = file_sha256(temporary)
    return {
        "file": path.name,
        "frames": count,
        "height": height,
        "width": width,
        "dropped_rows": first_shape[0] - height,
        "dropped_columns": first_shape[1] - width,
        "flow": None,
        "sha256": sha256,
    }


def _packed_size(path: Path, frame: np.ndarray, scale: int) -> tuple[int, int]:
    """Height and width cut to multiples of `scale`, of a first frame found fit to be packed."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
        raise DataError(f"{path}: expected frames of uint8 (H, W, 3), got {frame.dtype} {frame.shape}")
    height, width = (size - size % scale for size in frame.shape[:2])
    if not height or not width:
        raise DataError(
            f"{path}: expected frames of at least {scale}x{scale}, got {frame.shape[1]}x{frame.shape[0]}"
        )
    return height, width


def _write_npy_header(file, shape: tuple[int, ...]) -> int:
    """Write an ``.npy`` header (NumPy leaves room for the first axis to grow); return its length in bytes."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def write_clip(path: Path, frames: Iterable[np.ndarray]) -> dict:
    """Write a clip as it is.

    Parameters
    ----------
    path : Path
        The ``.npy`` file; it appears under its name only when complete.
    frames : np.ndarray or iterable of np.ndarray
        (T, H, W, 3) uint8 RGB, or its frames one after the other.

    Returns
    -------
    dict
        The clip's entry for the manifest, as :func:`pack_clip` gives it.
    """
    return pack_clip(frames, path, scale=1)


def read_clip(path: Path) -> np.ndarray:
    """Open a clip as a memory map: (T, H, W, 3) uint8 RGB, read-only.

    Raises
    ------
    DataError
        The file is missing, damaged, or holds something else.
    """
    try:
        clip = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path}: expected a clip, but there is none") from None
    except (OSError, ValueError, EOFError, struct.error) as error:
        raise DataError(f"{path}: expected a complete .npy file, got: {error}") from None
    if not isinstance(clip, np.ndarray) or clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3:
        got = f"{clip.dtype} {clip.shape}" if isinstance(clip, np.ndarray) else "an archive of arrays"
        raise DataError(f"{path}: expected uint8 (T, H, W, 3), got {got}")
    return clip


def read_manifest(path: Path) -> dict:
    """Read the manifest of a folder of clips and check that the files it lists are there.

    Returns
    -------
    dict
        dataset, spec, licence, clips (name -> entry as :func:`pack_clip` gives it), and whatever else
        the manifest holds.

    Raises
    ------
    DataError
        The manifest is missing or damaged, or a file it lists is missing or has another size.
    """
    path = Path(path)
    manifest = read_json(path)
    try:
        clips = manifest["clips"]
        for name, entry in clips.items():
            _check_entry(path, name, entry)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected a manifest of clips, got: {error!r}") from None
    if not clips:
        raise DataError(f"{path}: expected at least one clip, got none")
    return manifest


def _check_entry(path: Path, name: str, entry: dict) -> None:
    """Check that the files of one clip lie beside the manifest, with all their frames."""
    for file in filter(None, (entry["file"], entry["flow"])):
        if Path(file).name != file:
            raise DataError(f"{path}: clip {name}: expected a file name without folders, got {file}")
        if not (path.parent / file).is_file():
            raise DataError(f"{path.parent / file}: listed in {path.name}, but missing")
    file = path.parent / entry["file"]
    if file.stat().st_size < entry["frames"] * entry["height"] * entry["width"] * 3:
        raise DataError(f"{file}: expected {entry['frames']} frames, got a shorter file")


def open_clips(manifest_path: Path) -> dict[str, np.ndarray]:
    """Open all clips of a manifest as memory maps.

    Returns
    -------
    dict
        Clip name -> (T, H, W, 3) uint8 RGB.

    Raises
    ------
    DataError
        A file is missing, damaged, or has another shape than the manifest says.
    """
    manifest_path = Path(manifest_path)
    clips = {}
    for name, entry in read_manifest(manifest_path)["clips"].items():
        clips[name] = read_clip(manifest_path.parent / entry["file"])
        expected = (entry["frames"], entry["height"], entry["width"], 3)
        if clips[name].shape != expected:
            raise DataError(
                f"{manifest_path.parent / entry['file']}: expected {expected}, got {clips[name].shape}"
            )
    return clips


def read_restored(manifest_path: Path, *keys: str) -> dict:
    """Read the manifest of a restored data set.

    Parameters
    ----------
    manifest_path : Path
        JSON file with ``clips``: clip name -> ``rgb`` and ``y``, the pictures of each kind, or null.
    *keys : str
        What else it has to hold, such as ``run``.

    Raises
    ------
    DataError
        The manifest is missing or damaged, or lacks one of these.
    """
    manifest = read_json(manifest_path, "manifest of restored frames")
    try:
        missing = {"clips", *keys} - manifest.keys()
        if missing:
            raise KeyError(", ".join(sorted(missing)))
        if not all(isinstance(clip, dict) for clip in manifest["clips"].values()):
            raise TypeError("a clip without rgb and y")
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{manifest_path}: expected a manifest of restored frames, got: {error!r}") from None
    return manifest


def write_frames(manifest_path: Path, folder: Path) -> list[Path]:
    """Write packed clips as PNG pictures, ``<clip>/00000.png`` and so on.

    Parameters
    ----------
    manifest_path : Path
        Manifest of the clips.
    folder : Path
        Gets a sub-folder for each clip.

    Returns
    -------
    list of Path
        These sub-folders.
    """
    folders = []
    for name, clip in open_clips(manifest_path).items():
        folders.append(folder / name)
        for number, frame in enumerate(clip):
            write_png(folder / name / f"{number:05d}.png", frame)
    return folders
