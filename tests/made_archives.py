"""Small archives laid out like those of REDS, made on the spot."""

import hashlib
import io
import zipfile

import numpy as np
from PIL import Image

from rlsp.data.degradation import degrade_bicubic

CLIPS = ["000", "001", "002", "003"]


def png(frame):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="PNG")
    return buffer.getvalue()


def made_clips(frames=8, size=(64, 64), clips=CLIPS):
    """Noise that moves one pixel a frame: name -> (T, H, W, 3)."""
    rng = np.random.default_rng(0)
    made = {}
    for name in clips:
        still = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        made[name] = np.stack([np.roll(still, shift, axis=1) for shift in range(frames)])
    return made


def write_archive(path, clips, folder="train/train_sharp/{clip}/", spoil=None):
    """Write clips as REDS has them; `spoil` may exchange the bytes of a picture, by its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for clip, frames in clips.items():
            place = folder.replace("{clip}", clip)
            archive.writestr(place, b"")
            for number, frame in enumerate(frames):
                name = f"{place}{number:08d}.png"
                archive.writestr(name, (spoil or {}).get(name, png(frame)))
    return path


def official_lr(clips, boundary="replicate"):
    return {name: degrade_bicubic(clip, scale=4, boundary=boundary) for name, clip in clips.items()}


def download_entry(path, *urls):
    """Catalogue entry of an archive."""
    content = path.read_bytes()
    return {
        "kind": "archive", "file": path.name, "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), "urls": list(urls), "licence": "CC BY 4.0",
    }  # fmt: skip
