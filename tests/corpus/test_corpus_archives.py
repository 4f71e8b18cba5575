"""Zip archives as they come from elsewhere: whole, damaged, and made to do harm."""

import io
import os
import stat
import zipfile

import numpy as np
import pytest
from cases import Case, names, run
from made_archives import made_clips, png, write_archive

from rlsp.data.archives import Archive

FOLDER = "train/train_sharp/{clip}/"
PLACE = "train/train_sharp/000/"
MADE = made_clips(frames=4, size=(16, 16), clips=["000", "001"])


def read(path, frames=4, clip="000", size=(16, 16)):
    archive = Archive(path)
    return np.stack(
        list(archive.read_pictures(archive.pictures(FOLDER.replace("{clip}", clip), frames), size))
    )


def whole(folder, **options):
    return write_archive(folder / "a.zip", MADE, **options)


def with_member(folder, name, content=b"x", **info):
    path = whole(folder)
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo(name)
        for key, value in info.items():
            setattr(member, key, value)
        archive.writestr(member, content)
    return path


def patched(folder, change):
    path = whole(folder)
    path.write_bytes(change(path.read_bytes()))
    return path


def raw(folder, content):
    (folder / "a.zip").write_bytes(content)
    return folder / "a.zip"


def spoilt(folder, content, number=2):
    return whole(folder, spoil={f"{PLACE}{number:08d}.png": content})


def without(folder, *numbers):
    clips = {"000": MADE["000"]}
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, frame in enumerate(clips["000"]):
            if number not in numbers:
                archive.writestr(f"{PLACE}{number:08d}.png", png(frame))
    return path


def compressed(folder, kind):
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", kind) as archive:
        for number, frame in enumerate(MADE["000"]):
            archive.writestr(f"{PLACE}{number:08d}.png", png(frame))
    return path


def encrypted(folder):
    """Set the bit of a password in the headers of all members."""
    content = bytearray(whole(folder).read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(magic)
        while place >= 0:
            content[place + at] |= 1
            place = content.find(magic, place + 4)
    return raw(folder, bytes(content))


def link(target):
    return {"external_attr": (stat.S_IFLNK | 0o777) << 16, "content": target.encode()}


def nested(folder):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as inner:
        inner.writestr(f"{PLACE}00000000.png", png(MADE["000"][0]))
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.zip", buffer.getvalue())
    return path


def bomb(folder):
    return spoilt(folder, b"\x89PNG\r\n\x1a\n" + bytes(50_000_000))


def special(folder, kind):
    if kind == "pipe":
        os.mkfifo(folder / "a.zip")
    elif kind == "folder":
        (folder / "a.zip").mkdir()
    elif kind == "link":
        (folder / "a.zip").symlink_to("a.zip")
    return folder / "a.zip"


def is_made(folder, clip):
    return np.array_equal(clip, MADE["000"])


BAD_NAMES = {
    "leads out": "../out.png", "leads out inside": "a/../../out.png", "is absolute": "/etc/out.png", "has a backslash": "a\\..\\out.png",
    "has a drive": "C:/out.png", "has a line break": "a\nb.png", "has an escape": "a\x1b[31m.png",
}  # fmt: skip
CASES = [
    Case("a whole one", lambda d: read(whole(d)), is_refused=False, check=is_made),
    *(
        Case(f"compression {kind}", lambda d, kind=kind: read(compressed(d, kind)), is_refused=False, check=is_made)
        for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    ),
    *(Case(f"a name that {what}", lambda d, name=name: read(with_member(d, name)), r"a.zip: ") for what, name in BAD_NAMES.items()),
    Case("a name twice", lambda d: read(with_member(d, f"{PLACE}00000001.png", png(MADE["000"][0]))), "a.zip: .*twice"),
    Case("a link", lambda d: read(with_member(d, "link.png", b"/etc/passwd", external_attr=(stat.S_IFLNK | 0o777) << 16)), "a.zip: .*link"),
    Case("another encoding", lambda d: read(with_member(d, "notes-ü.txt")), is_refused=False, check=is_made),
    Case("hidden pictures", lambda d: read(with_member(d, f"{PLACE}.00000009.png")), is_refused=False, check=is_made),
    Case("a password", lambda d: read(encrypted(d)), "a.zip: "),
    Case("compression bzip2", lambda d: read(compressed(d, zipfile.ZIP_BZIP2)), "a.zip: "),
    Case("compression LZMA", lambda d: read(compressed(d, zipfile.ZIP_LZMA)), "a.zip: "),
    *(Case(f"cut to {part:.0%}", lambda d, part=part: read(patched(d, lambda c: c[: round(part * len(c))])), "a.zip: expected a complete zip") for part in (0, 0.1, 0.5, 0.9, 0.99)),
    Case("no end of the directory", lambda d: read(patched(d, lambda c: c[:-22])), "expected a complete zip"),
    Case("a flipped byte in a picture", lambda d: read(patched(d, lambda c: c[:300] + bytes([c[300] ^ 255]) + c[301:])), "a.zip: "),
    Case("a wrong size in a header", lambda d: read(patched(d, lambda c: c.replace(b"PK\x01\x02", b"PK\x01\x03", 1))), "a.zip: "),
    Case("empty", lambda d: read(raw(d, b"")), "expected a complete zip"),
    Case("text", lambda d: read(raw(d, b"an archive")), "expected a complete zip"),
    Case("a web page", lambda d: read(raw(d, b"<html>404</html>" * 20)), "expected a complete zip"),
    Case("an archive without members", lambda d: read(raw(d, b"PK\x05\x06" + bytes(18))), "expected 4 PNG files in .*, got 0"),
    Case("an archive in an archive", lambda d: read(nested(d)), "expected 4 PNG files in .*, got 0"),
    Case("missing", lambda d: read(d / "a.zip"), "expected a zip archive, but there is none"),
    *(Case(f"a {kind} for an archive", lambda d, kind=kind: read(special(d, kind)), "a.zip: |a.zip") for kind in ("pipe", "folder", "link")),
    Case("another clip", lambda d: read(whole(d), clip="009"), "expected 4 PNG files in .*009/, got 0"),
    *(Case(f"without frame {number}", lambda d, number=number: read(without(d, number), frames=3), "expected the frame numbered") for number in (1, 2)),
    Case("a frame too few", lambda d: read(without(d, 3)), "expected 4 PNG files in .*, got 3"),
    Case("a frame too many", lambda d: read(whole(d), frames=3), "expected 3 PNG files in .*, got 4"),
    *(
        Case(f"a picture that is {what}", lambda d, content=content: list(read(spoilt(d, content))), "00000002.png")
        for what, content in (
            ("empty", b""), ("text", b"no picture"), ("half", png(MADE["000"][2])[:80]), ("of another size", png(MADE["000"][2][:8])),
            ("16 bits", png(MADE["000"][2])[:24] + b"\x10" + png(MADE["000"][2])[25:]),
        )
    ),
    Case("a bomb", lambda d: read(bomb(d)), "a.zip: |00000002.png"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_archive(case, tmp_path, capfd):
    run(case, tmp_path, capfd)
