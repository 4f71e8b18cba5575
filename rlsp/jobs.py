"""What surrounds a job of the workflow: its log and its errors."""

import contextlib
import datetime
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlsp.errors import one_line_errors


@contextlib.contextmanager
def job(log: Sequence[str]) -> Iterator[None]:
    """Send everything a job prints to its log; a user's error is one line there and on the terminal.

    Parameters
    ----------
    log : sequence of str
        The rule's log files; the first one is used.
    """
    path = Path(log[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.dup(2)
    with path.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            with one_line_errors():
                yield
        except SystemExit as end:
            print(end.code, file=sys.stderr, flush=True)
            os.write(terminal, f"{end.code} (log: {path})\n".encode())
            os._exit(1)  # Snakemake's wrapper would print a traceback below the one line
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(terminal, 2)


def record_elapsed(folder: Path, seconds: float, cores: int) -> None:
    """Add the time that a successful run of the workflow took to ``elapsed.csv`` of a study.

    Parameters
    ----------
    folder : Path
        Results of the study.
    seconds : float
        Wall-clock time.
    cores : int
        Cores that Snakemake was given.
    """
    table = folder / "elapsed.csv"
    is_new = not table.exists()
    with table.open("a") as file:
        if is_new:
            file.write("finished,seconds,cores\n")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        file.write(f"{now},{seconds:.1f},{cores}\n")
