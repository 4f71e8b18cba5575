"""Pictures: PNG files read and written, other formats read."""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rlsp.errors import ConfigError, DataError
from rlsp.files import check_regular, replace_when_complete

# suffixes of pictures -> their format, as Pillow calls it
PICTURE_FORMATS = {
    **{suffix: "JPEG" for suffix in (".jpeg", ".jpg", ".jpe", ".jfif")},
    **{suffix: "TIFF" for suffix in (".tif", ".tiff")},
    **{suffix: "PPM" for suffix in (".pbm", ".pgm", ".pnm", ".ppm")},
    **{suffix: "JPEG2000" for suffix in (".jp2", ".j2k")},
    ".png": "PNG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tga": "TGA",
    ".avif": "AVIF",
}
LOSSY_FORMATS = frozenset(
    {"JPEG", "WEBP", "JPEG2000", "AVIF"}
)  # always, or where they are not asked otherwise

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_png(path: Path) -> np.ndarray:
    """Read an 8-bit PNG file.

    Palettes become RGB; an alpha channel is dropped where it is opaque everywhere.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    np.ndarray
        (H, W, 3) uint8 RGB, or (H, W) uint8 of a grey picture.

    Raises
    ------
    DataError
        The file is missing, no PNG, damaged, has 16 bits per channel, or has transparent pixels.
    """
    path = Path(path)
    check_regular(path, "PNG file")
    with _readable(path, "PNG"), open(path, "rb") as file:
        return decode_png(file, path)


def decode_png(file: BinaryIO, name: Path | str) -> np.ndarray:
    """Read an 8-bit PNG from an open file, wherever its bytes are; see :func:`read_png`.

    Parameters
    ----------
    file : file of bytes
        At its beginning, and able to return to it.
    name : Path or str
        What errors call it.

    Returns
    -------
    np.ndarray
        (H, W, 3) uint8 RGB, or (H, W) uint8 of a grey picture.

    Raises
    ------
    DataError
        The bytes are no PNG, damaged, have 16 bits per channel, or transparent pixels.
    """
    _check_png_header(name, file.read(26))
    file.seek(0)
    with _readable(name, "PNG"), Image.open(file, formats=["PNG"]) as picture:
        picture.load()
        return _opaque_array(name, picture)


@contextlib.contextmanager
def _readable(path: Path | str, kind: str) -> Iterator[None]:
    """Tell in one line why a picture cannot be read, as a :class:`DataError`."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: expected a {kind} file, but there is none") from None
    except (UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: expected a readable {kind}, got: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: expected a readable {kind}, got: {error.strerror or error}") from None


def _check_png_header(path: Path | str, header: bytes) -> None:
    """Refuse what is no PNG, and 16 bits per channel, which Pillow would cut to 8 without a word."""
    if len(header) < 26 or not header.startswith(_PNG_SIGNATURE):
        raise DataError(f"{path}: expected a PNG file, got something else")
    if header[24] > 8:
        raise DataError(f"{path}: expected 8 bits per channel, got {header[24]}")


def _opaque_array(path: Path | str, picture: Image.Image) -> np.ndarray:
    """Give a Pillow picture as uint8 RGB or grey; transparent pixels are an error."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getextrema()[3][0] < 255:
            raise DataError(f"{path}: expected an opaque picture, got one with transparent pixels")
        picture = picture.convert("RGB")
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    return np.array(picture if picture.mode == mode else picture.convert(mode))


def read_picture(path: Path) -> np.ndarray:
    """Read a picture of one of :data:`PICTURE_FORMATS`, whatever its suffix, the right way up.

    Colours of 16 bits are cut to 8; a grey picture gets three equal channels.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    np.ndarray
        (H, W, 3) uint8 RGB.

    Raises
    ------
    DataError
        The file is missing, damaged, of another kind or of several pictures, has transparent pixels, too many pixels,
        or grey levels of more than 8 bits.
    """
    path = Path(path)
    check_regular(path, "picture")
    formats = sorted({*PICTURE_FORMATS.values()})
    with _readable(path, "picture"), Image.open(path, formats=formats) as picture:
        if getattr(picture, "n_frames", 1) > 1:
            raise DataError(f"{path}: expected one picture, got {picture.n_frames} in one file")
        picture.load()
        if picture.mode[0] in "IF":  # Pillow would clip these levels at 255
            raise DataError(
                f"{path}: expected 8 bits per channel, got levels of Pillow's mode {picture.mode}"
            )
        ImageOps.exif_transpose(picture, in_place=True)
        return as_rgb(_opaque_array(path, picture))


def write_png(path: Path, frame: np.ndarray) -> None:
    """Write an 8-bit PNG file; it appears under its name only when complete.

    Parameters
    ----------
    path : Path
        The file; its folder is made when missing.
    frame : np.ndarray
        (H, W, 3) uint8 RGB, or (H, W) uint8 grey.
    """
    if frame.dtype != np.uint8 or not (frame.ndim == 2 or frame.ndim == 3 and frame.shape[2] == 3):
        raise ValueError(f"{path}: expected uint8 (H, W) or (H, W, 3), got {frame.dtype} {frame.shape}")
    with replace_when_complete(path) as temporary:
        # level 1 is three times faster than zlib's default here, for files a tenth larger
        Image.fromarray(np.ascontiguousarray(frame)).save(temporary, format="PNG", compress_level=1)


def read_frame(path: Path) -> np.ndarray:
    """Read a frame of a clip, (H, W, 3) uint8 RGB: a PNG file as it is, others by :func:`read_picture`.

    Raises
    ------
    DataError
        As :func:`read_png` and :func:`read_picture`.
    """
    return as_rgb(read_png(path)) if Path(path).suffix.lower() == ".png" else read_picture(path)


def as_rgb(frame: np.ndarray) -> np.ndarray:
    """Give a grey (H, W) picture three equal channels; (H, W, 3) stays as it is."""
    return np.repeat(frame[..., None], 3, axis=2) if frame.ndim == 2 else frame


def read_photograph(file_name: str) -> np.ndarray:
    """Read a photograph from the data folder of the installed scikit-image, without any download.

    Parameters
    ----------
    file_name : str
        Name of the file there, say ``coffee.png``.

    Returns
    -------
    np.ndarray
        (H, W, 3) uint8 RGB; a grey photograph gets three equal channels.

    Raises
    ------
    ConfigError
        scikit-image ships no such file.
    """
    from PIL import Image

    folder = Path(importlib.util.find_spec("skimage").origin).parent / "data"
    if not (folder / file_name).is_file():
        raise ConfigError(f"{file_name}: expected a photograph inside scikit-image, but there is none")
    with Image.open(folder / file_name) as picture:
        return np.array(picture.convert("RGB"))
