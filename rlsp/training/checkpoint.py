"""The files of a training that has not ended: its checkpoint, and the mark of one that must not be tried again."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rlsp.errors import TrainingError, first_line
from rlsp.files import replace_when_complete, write_json


@dataclass
class Progress:
    """Everything that a resumed training needs besides the weights.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Time they took.
    rows : list of dict
        Rows of the log.
    window : list of float
        Mean squared errors since the last row.
    best : dict or None
        Step and validation PSNR (dB) of the best weights so far.
    precision : str or None
        What the convolutions are computed in, also after it goes on on another device; None until it is chosen.
    """

    step: int = 0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    window: list[float] = field(default_factory=list)
    best: dict[str, float] | None = None
    precision: str | None = None


class Checkpoint:
    """The folder of a training, named by all that decides its result.

    Parameters
    ----------
    folder : Path
        Where the files lie.
    fingerprint : str
        Hash of the configuration and data; what was saved with another one is refused.
    code : str
        Hash of the code that trains; what ended with another one starts anew when it is asked for again.
    """

    def __init__(self, folder: Path, fingerprint: str, code: str) -> None:
        self.folder, self.fingerprint, self.code = folder, fingerprint, code

    @property
    def state(self) -> Path:
        """File that a stopped training goes on from."""
        return self.folder / "state.pt"

    def best(self, step: int) -> Path:
        """Weights of the best validation so far, which was after so many steps."""
        return self.folder / f"best-{step}.safetensors"

    @property
    def diverged(self) -> Path:
        """Mark of a training that diverged: trying again would end the same way."""
        return self.folder / "diverged.json"

    def load(self, device: str) -> dict[str, Any] | None:
        """Read the checkpoint, if there is one.

        Raises
        ------
        TrainingError
            It is damaged or belongs to another configuration.
        """
        if not self.state.exists():
            return None
        try:
            saved = torch.load(self.state, map_location=device, weights_only=True)
            found = saved["fingerprint"]
        except Exception as error:  # torch raises many kinds for damaged files
            raise TrainingError(f"{self.state}: cannot be read ({error}); delete it to restart") from error
        if found != self.fingerprint:
            raise TrainingError(
                f"{self.state}: belongs to configuration and data {found}, expected {self.fingerprint}; "
                "delete it to restart"
            )
        return saved if self._is_current(saved) else None

    def _is_current(self, saved: dict[str, Any]) -> bool:
        """Whether to go on from a checkpoint: yes, unless its training had ended, with code that has changed since.

        The last checkpoint is kept: on a cluster a job may end after the process that waited for it was killed,
        and its outputs be asked for again.
        """
        if not saved["is_last"]:
            return True
        is_same = saved["code"] == self.code
        what = "its weights are written again" if is_same else "the code has changed: it starts anew"
        print(f"{self.state}: this training had ended; {what}", file=sys.stderr)
        return is_same

    def save(self, step: dict[str, Any], progress: Progress, *, is_last: bool = False) -> None:
        """Write the checkpoint, replacing the last one in one step; `is_last` says that the training has ended.

        Raises
        ------
        TrainingError
            It cannot be written, say on a full disk; the last one stays.
        """
        facts = {"fingerprint": self.fingerprint, "is_last": is_last, "code": self.code}
        saved = {**facts, **step, "progress": vars(progress)}
        try:
            with replace_when_complete(self.state) as temporary:
                buffer = io.BytesIO()  # torch's own writer hides what a full disk says
                torch.save(saved, buffer)
                with temporary.open("wb") as file:
                    file.write(buffer.getbuffer())
                    file.flush()
                    os.fsync(file.fileno())  # a node that loses power keeps one of the two
            self._remove_older_best(progress)
        except OSError as error:
            reason = error.strerror or str(error)
            raise TrainingError(
                f"{self.state}: cannot be written ({reason}); the last checkpoint is kept, "
                "the same command goes on from there"
            ) from error

    def _remove_older_best(self, progress: Progress) -> None:
        """Remove best weights that no checkpoint names any more."""
        for path in self.folder.glob("best-*.safetensors"):
            if progress.best is None or path != self.best(progress.best["step"]):
                path.unlink(missing_ok=True)

    def _read_mark(self) -> dict[str, str] | None:
        """Read the mark of a training that diverged; a damaged one is taken for none, with a line."""
        try:
            mark = json.loads(self.diverged.read_text(encoding="utf-8"))
            return {key: str(mark[key]) for key in ("fingerprint", "message")}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            print(f"{self.diverged}: damaged ({first_line(error)}); taken for missing", file=sys.stderr)
            return None

    @contextlib.contextmanager
    def divergence_marked(self, *, is_main: bool = True) -> Iterator[None]:
        """Refuse a training that diverged before, and mark one that does now.

        A scheduler that runs a failed job again would come to the same end each time, on an expensive device.

        Raises
        ------
        TrainingError
            It diverged, now or before.
        """
        before = self._read_mark()
        if before is not None and before["fingerprint"] == self.fingerprint:
            raise TrainingError(f"{before['message']} ({self.diverged} says so; delete it to try again)")
        try:
            yield
        except Diverged as error:
            if is_main:
                mark = {"fingerprint": self.fingerprint, "message": str(error)}
                write_json(self.diverged, mark)
            raise


class Diverged(TrainingError):
    """The loss explodes."""
