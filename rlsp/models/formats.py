"""What a file is that is no weights of ours: told by its first bytes, or by the names in its archive."""

import zipfile
from pathlib import Path

TORCH, TENSORFLOW = "a PyTorch checkpoint", "a TensorFlow checkpoint"
UNKNOWN, PICKLE = "something else", "a pickle"
CONVERTED = (TORCH, TENSORFLOW)  # those that rlsp.released.foreign reads
HEAD_BYTES = 512
PICKLED_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first number of torch.save before 1.6
TABLE_MAGIC = b"W\xfb\x80\x8b$uG\xdb"  # the last bytes of a TensorFlow index; see rlsp.released.tensorflow
FIRST_BYTES = (
    (PICKLED_TORCH, TORCH),
    (b"\x80", PICKLE),  # protocols 2 to 5
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89HDF", "an HDF5 file, such as of Keras"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"GGUF", "a GGUF file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1aE\xdf\xa3", "a Matroska video"),
    (b"%PDF", "a PDF"),
    (b"version https://git-lfs", "a pointer of Git LFS in place of the file (git lfs pull fetches it)"),
    (b"model_checkpoint_path", "the list of a folder's TensorFlow checkpoints"),
)
ENDINGS = {".onnx": "an ONNX model", ".pb": "a TensorFlow graph", ".tflite": "a TensorFlow Lite model"}


def describe_file(path: Path) -> str:
    """Say what a regular file is, such as ``a PyTorch checkpoint``; of what is not known :data:`UNKNOWN`."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return "an empty file"
    if head.startswith(b"PK"):
        return _describe_zip(path)
    if _is_tensorflow(path):
        return TENSORFLOW
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[4:8] == b"ftyp":
        return "a video"
    if path.suffix.lower() in ENDINGS:
        return ENDINGS[path.suffix.lower()]
    if head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page in place of the file"
    known = next((name for start, name in FIRST_BYTES if head.startswith(start)), None)
    return known or ("text" if _is_text(head) else UNKNOWN)


def _describe_zip(path: Path) -> str:
    """Say what an archive holds; torch.save, NumPy and Keras write zip files."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a damaged zip archive"
    if any(name.endswith("/data.pkl") for name in names):
        is_script = any(name.endswith("/constants.pkl") for name in names)
        return "a TorchScript module" if is_script else TORCH
    if "model.weights.h5" in names:
        return "a Keras model"
    is_numpy = bool(names) and all(name.endswith(".npy") for name in names)
    return "NumPy arrays (.npz)" if is_numpy else "a zip archive"


def _is_tensorflow(path: Path) -> bool:
    """Whether a file is one of those that a TensorFlow checkpoint consists of."""
    if path.suffix == ".index":
        content = path.read_bytes() if path.stat().st_size < 10**8 else b""
        return content.endswith(TABLE_MAGIC)
    return ".ckpt" in path.name and path.suffix == ".meta" or path.suffix.startswith(".data-")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # not of a character that is cut in two
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character.isspace() for character in text)
