"""What the corpus of inputs is made of: an input, what is done with it, and the line or value that has to come."""

import contextlib
import re
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlsp.cli import main
from rlsp.errors import one_line_errors

MOST_SECONDS = 20
MOST_KB = 500_000  # that a refused input may add to the largest memory of the process
LONGEST_LINE = 600


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes
    ----------
    name : str
        Of the case, unique in its family.
    act : callable
        Is given an empty folder, makes the input in it and uses it. Words that it returns (a list of str) are given
        to the command line; anything else is the result that `check` is given.
    line : str
        Regular expression that the error line, or what is said on stderr, has to contain.
    is_refused : bool
        Whether an error line and exit status 1 (2 from the parser of arguments) have to come.
    check : callable, optional
        Is given the folder and the result after `act`, and asserts the right value.
    """

    name: str
    act: Callable[[Path], Any]
    line: str = ""
    is_refused: bool = True
    check: Callable[[Path, Any], None] | None = None

    def __str__(self) -> str:
        return self.name


def names(cases: Sequence[Case]) -> list[str]:
    """Names of cases as pytest shows them; two of one name are a mistake of the table."""
    found = [case.name for case in cases]
    twice = {name for name in found if found.count(name) > 1}
    assert not twice, f"two cases of one name: {sorted(twice)}"
    return found


def run(case: Case, folder: Path, capfd) -> None:
    """Run a case in an empty folder: one line or the right value, in time and in little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, result = 0, None
    with time_limit(MOST_SECONDS):
        try:
            with one_line_errors():
                result = case.act(folder)
                if isinstance(result, list) and all(isinstance(word, str) for word in result):
                    result = main(result)
        except SystemExit as end:
            status = end.code
    said = capfd.readouterr().err
    assert "Traceback" not in said, said
    if case.is_refused:
        taken_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert taken_kb < MOST_KB, f"took {taken_kb} kB"
        _check_refused(case, status, said)
    else:
        assert status in (0, None), status
        assert re.search(case.line, said), f"expected {case.line!r} in {said!r}"
    if case.check is not None:
        assert case.check(folder, result) is not False


def _check_refused(case: Case, status: Any, said: str) -> None:
    """One line, that says what is expected of it, whoever prints it."""
    assert status not in (0, None), "expected to be refused, got success"
    lines = said.strip().splitlines()
    line = status if isinstance(status, str) else lines[-1] if lines else ""
    assert "error: " in line, f"expected an error line, got status {status!r} and {said!r}"
    assert "\n" not in line.strip() and len(line) <= LONGEST_LINE, line
    assert re.search(case.line, line), f"expected {case.line!r} in {line!r}"


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Fail what hangs."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"hangs: not done after {seconds} s")

    handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
