"""Peak memory of a piece of work on a CPU, each in a process of its own."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any


class MemoryProbe(AbstractContextManager):
    """Runs a function in fresh processes and tells by how much each one's memory grew.

    One server process imports what is needed and then forks a child for each request, so that no peak hides the next
    one and a child that is killed takes nothing with it.

    Parameters
    ----------
    function : str
        ``module:name`` of what the children call, with the keyword arguments of a request.
    """

    def __init__(self, function: str) -> None:
        command = [sys.executable, "-c", f"from rlsp.timing.memory import serve; serve({function!r})"]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self._server.stdin.close()
        self._server.wait()

    def measure(self, *, rehearsal: dict[str, Any] | None = None, **arguments: Any) -> float:
        """Measure the growth of the resident set at its peak, in megabytes (10^6 bytes).

        Parameters
        ----------
        rehearsal : dict, optional
            Arguments of a call before, on something small: what libraries load for good is not counted then.
        **arguments
            Of the call.

        Raises
        ------
        MemoryError
            The child could not get memory, or was killed.
        RuntimeError
            The function failed, or the server has gone; with the reason.
        """
        try:
            self._server.stdin.write(json.dumps({"rehearsal": rehearsal, "arguments": arguments}) + "\n")
            self._server.stdin.flush()
            answer = json.loads(self._server.stdout.readline())
        except (OSError, ValueError) as error:
            raise RuntimeError("the process that measures memory has ended") from error
        if answer.get("killed"):
            raise MemoryError("killed while its memory was measured")
        if "error" in answer:
            raise (MemoryError if answer["out_of_memory"] else RuntimeError)(answer["error"])
        return answer["mb"]


def serve(function: str) -> None:
    """Answer the requests of a :class:`MemoryProbe` on stdin until it closes."""
    import importlib

    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            os.write(writer, json.dumps(_answer(call, **json.loads(line))).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        status = os.waitpid(child, 0)[1]
        if not answer:
            is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            answer = json.dumps(
                {"killed": True}
                if is_killed
                else {"error": f"ended with status {status}", "out_of_memory": False}
            )
        print(answer, flush=True)


def _answer(
    call: Callable[..., None], rehearsal: dict[str, Any] | None, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Call the function in this process, a fresh one."""
    sys.stdout = sys.stderr  # the answers' own stream
    if rehearsal is not None:
        with suppress(Exception):  # one that is too small for the work loads what it needs all the same
            call(**rehearsal)
    before = peak_bytes(reset=True)
    try:
        call(**arguments)
    except Exception as error:
        reason = (str(error).strip().split("\n") or [""])[0]
        is_full = isinstance(error, MemoryError) or "allocate memory" in reason
        return {"error": f"{type(error).__name__}: {reason}", "out_of_memory": is_full}
    return {"mb": (peak_bytes() - before) / 1e6}


def peak_bytes(*, reset: bool = False) -> int:
    """Peak of this process's resident set; on Linux since the last reset, elsewhere since its start."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a child starts at its parent's peak
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in kB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
