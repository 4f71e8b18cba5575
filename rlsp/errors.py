"""Errors a user can cause, each told in one line."""

import contextlib
import sys
from collections.abc import Iterator


class RlspError(Exception):
    """Something outside the program is not as expected; the message is one line for the user."""


class ConfigError(RlspError):
    """A configuration key or value is wrong."""


class TooSmallError(ConfigError):
    """A picture is too small for what is to be made of it."""


class DataError(RlspError):
    """A clip, picture, table or weight file is not what was expected."""


class DownloadError(RlspError):
    """A file could not be fetched, or came with the wrong bytes."""


class DeviceError(RlspError):
    """A GPU failed, was lost, or its memory is full."""


class TrainingError(RlspError):
    """A training cannot start, go on, or be trusted."""


def first_line(error: BaseException) -> str:
    """First line of what an error says, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an :class:`RlspError` (or a full disk) into one line on stderr and exit status 1."""
    try:
        yield
    except RlspError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None or error.filename is None and error.strerror is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"error: {where}{error.strerror}")
