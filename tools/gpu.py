"""Test, time and train on a GPU in parts, each under a limit of its own; nothing that was measured is lost in between.

Runs in any environment with PyTorch: what a machine lacks beside it may lie as wheels in a folder ``wheels`` here,
``tools/gpu_pack.py`` puts them there. Parts:

- tests: ``pytest -m gpu``
- times: ``rlsp time`` of the study's models
- rates: ``rlsp rate`` of the study's trainings
- training: ``rlsp train`` of the study's runs, as many side by side as it says; run it again to go on

Everything is written to ``<output>/<device>/`` as it comes; a part that is run again replaces what it measured.
Exit status 1: a part failed, or did not save what it had when its time was over.
"""

import argparse
import csv
import importlib.util
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "site"  # where carried wheels are unpacked
LIMITS = {"tests": 120, "times": 150, "rates": 120, "training": 150}  # seconds
CLOCK_SECONDS = 2  # that the clock of a file system may be behind
GRACE = 60  # seconds that a part may take to save, once it is asked to stop
STOPPED = "stopped at its limit"
NOTHING = "nothing was written"
WELL = ("ok", STOPPED, "not started")
# Modules, and the packages that have them.
CARRIED = {"pydantic": "pydantic", "pynvml": "nvidia-ml-py", "pytorch_optimizer": "pytorch-optimizer"}
COLUMNS = ("part", "what", "status", "seconds", "result")


def find_packages() -> None:
    """Let this process and those it starts import the package of this folder, and the wheels carried with it."""
    sys.path[:0] = places = [str(ROOT), str(SITE)]
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
    missing = [package for module, package in CARRIED.items() if importlib.util.find_spec(module) is None]
    if missing and (ROOT / "wheels").is_dir():
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-index",
        ]
        places = ["--find-links", str(ROOT / "wheels"), "--target", str(SITE)]
        done = subprocess.run([*command, *places, *missing], capture_output=True, text=True)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip()).split("\n")[-1]
            sys.exit(f"error: wheels: {', '.join(missing)} cannot be installed from them: {reason}")
        importlib.invalidate_caches()


class Session:
    """The parts that are run on one device, and their summary.

    Parameters
    ----------
    studies : list of Path
        Study files; each changes those before it.
    device : str
        "cuda" or "cpu".
    folder : Path
        Where results go.
    tiny : bool
        Measure as little as possible, to see that it runs.
    """

    def __init__(self, studies: list[Path], device: str, folder: Path, *, tiny: bool) -> None:
        from rlsp.config.resources import shared_places
        from rlsp.config.study import Study

        self.study = Study.from_file(*studies)
        self.places = shared_places(self.study)
        self.options = [option for path in studies for option in ("--study", str(path))]
        self.device, self.folder, self.tiny = device, folder, tiny
        self.rows: list[dict[str, object]] = []
        self.running: list[subprocess.Popen] = []
        self.deadline, self.lock = math.inf, threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, part: str, seconds: float) -> None:
        """Run a part under a limit of so many seconds and add its rows to the summary."""
        self.deadline = time.monotonic() + seconds
        self.run_beside(part, list(self.commands(part)), 1)
        if part == "training":
            for commands in self.trainings():
                self.run_beside(part, commands, self.places)

    def run_beside(self, part: str, commands: list["Command"], places: int) -> None:
        """Run commands of a part, so many at a time."""
        with ThreadPoolExecutor(places) as pool:
            try:
                list(pool.map(lambda command: self.run_one(part, *command), commands))
            except BaseException:  # we are asked to stop ourselves
                with self.lock:
                    self.deadline, running = -math.inf, list(self.running)
                for process in running:
                    process.send_signal(signal.SIGTERM)  # all of them save meanwhile
                for process in running:
                    stop(process)
                raise

    def run_one(self, part: str, what: str, command: list[str], path: Path | None, tell: "Teller") -> None:
        """Run one command of a part and add its row to the summary."""
        left, now = self.deadline - time.monotonic(), time.time()
        started = time.monotonic()
        log = self.folder / (f"training/{what}.log" if command[-1] == what else f"{part}.log")
        status = "not started" if left <= 0 else self.call(log, command, left)
        seconds = round(time.monotonic() - started, 1)
        is_new = path is not None and path.exists() and path.stat().st_mtime > now - CLOCK_SECONDS
        with self.lock:
            self.add_row(
                part, what, status, seconds, tell(path) if is_new else "" if path is None else NOTHING
            )

    def add_row(self, part: str, what: str, status: str, seconds: float, result: str) -> None:
        """Add a row to the summary."""
        self.rows.append(dict(zip(COLUMNS, (part, what, status, seconds, result), strict=True)))
        self.write_summary()

    def call(self, log_path: Path, command: list[str], seconds: float) -> str:
        """Run a command, its output going to a log; ask it to stop when its time is over. Returns how it ended."""
        log_path.parent.mkdir(exist_ok=True)
        with log_path.open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            with self.lock:  # nothing is started once all that runs was asked to stop
                if self.deadline == -math.inf:
                    return "not started"
                process = subprocess.Popen(
                    command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
                self.running.append(process)
            try:
                return "ok" if process.wait(seconds) == 0 else f"failed with status {process.returncode}"
            except subprocess.TimeoutExpired:
                return stop(process)
            finally:
                self.running.remove(process)

    def commands(self, part: str) -> Iterator["Command"]:
        """List the commands of a part."""
        rlsp, device = [sys.executable, "-m", "rlsp"], ["--device", self.device]
        if part == "tests":
            workers = ["-n", "4", "--dist", "loadfile"] if importlib.util.find_spec("xdist") else []
            chosen = ["tests/contract/test_model_contract.py"] if self.tiny else []
            pytest = [sys.executable, "-m", "pytest", "-v", "-m", "gpu", "-p", "no:cacheprovider"]
            yield "pytest -m gpu", [*pytest, *workers, *chosen], self.folder / "tests.log", count_outcomes
        if part == "times":
            table = self.folder / "runtime.csv"
            little = ["--sizes", "16x16", "--repeats", "2", "--seconds", "0.1"] if self.tiny else []
            models = [name for name in self.study.timed_models() if name not in self.study.spec.ablation[:-1]]
            chosen = ["--models", *models]  # rows of an ablation differ by columns of one layer
            command = [*rlsp, "time", *self.options, *device, *chosen, *little, "--output", str(table)]
            yield "rlsp time", command, table.with_name("runtime-cases.csv"), count_statuses
        if part in ("rates", "training") and not self.has_clips():  # first: trainings need them
            make_clips = [sys.executable, str(ROOT / "tools" / "make_clips.py")]
            yield "training clips", [*make_clips, *self.options], None, str
        if part == "rates":
            table = self.folder / "training_rate.csv"
            little = ["--seconds", "0.05", "--rounds", "1"] if self.tiny else []
            command = [*rlsp, "rate", *self.options, *device, *little, "--output", str(table)]
            yield "rlsp rate", command, table, list_rates

    def trainings(self) -> Iterator[list["Command"]]:
        """List the trainings, those that begin with the weights of others after these, if they came to their end."""
        rlsp, device = [sys.executable, "-m", "rlsp"], ["--device", self.device]
        left = {run.id: run for run in self.study.runs_of("trained")}
        while left:
            commands = []
            for run in [run for run in left.values() if run.start_from not in left]:
                if run.start_from in self.study.runs and run.start_from not in self.finished():
                    self.add_row("training", run.id, "not started", 0.0, f"begins with {run.start_from}")
                    continue
                command = [*rlsp, "train", *self.options, *device, run.id]
                state = self.study.training_folder(run.id) / "state.pt"
                commands.append((run.id, command, state, self.training_state))
            left = {name: run for name, run in left.items() if run.start_from in left}
            yield commands

    def finished(self) -> set[object]:
        """Name the trainings that came to their end."""
        return {row["what"] for row in self.rows if row["part"] == "training" and row["status"] == "ok"}

    def has_clips(self) -> bool:
        """Whether all clips of the trainings are there."""
        runs = [run.id for run in self.study.runs_of("trained")]
        return all(
            path.exists() for run in runs for path in self.study.train_hr(run) + self.study.train_lr(run)
        )

    def training_state(self, state: Path) -> str:
        """Say how far a training has come, in steps and PSNR (dB) on its crops, and keep its log."""
        import torch

        from rlsp.columns import TRAINING_LOG
        from rlsp.files import write_rows

        run = state.parent.name.rpartition("-")[0]  # without the hash
        progress = torch.load(state, weights_only=True, map_location="cpu")["progress"]
        write_rows(self.folder / "training" / f"{run}.csv", TRAINING_LOG.names, progress["rows"])
        steps = f"step {progress['step']:,} of {self.study.spec.recipes[self.study.runs[run].recipe].steps:,}"
        return steps + (f", {progress['rows'][-1]['psnr']:.2f} dB in training" if progress["rows"] else "")

    def write_summary(self) -> None:
        """Write ``summary.csv``, in which the rows of a part replace those of an earlier run."""
        from rlsp.files import write_rows

        path, done = self.folder / "summary.csv", {row["part"] for row in self.rows}
        before = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
        rows = [*[row for row in before if row["part"] not in done], *self.rows]
        write_rows(path, COLUMNS, sorted(rows, key=lambda row: list(LIMITS).index(str(row["part"]))))


# What it is about, the command, the file that it writes if any, and what tells the result in a new one.
Teller = Callable[[Path], str]
Command = tuple[str, list[str], Path | None, Teller]


def stop(process: subprocess.Popen) -> str:
    """Ask a process to stop, give it time to save, and end it with all that it started; returns how it ended."""
    process.send_signal(signal.SIGTERM)  # trainings save
    try:
        process.wait(GRACE)
        return STOPPED
    except subprocess.TimeoutExpired:
        return "killed at its limit"
    finally:
        with suppress(ProcessLookupError):  # nothing is left of it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def count_outcomes(log: Path) -> str:
    """Count the outcomes of the last run of pytest -v in a log; one that was killed has told some."""
    text = log.read_text().rpartition("$ ")[2]
    outcome = "(PASSED|FAILED|ERROR|SKIPPED)"  # pytest writes it behind the test, its workers before it
    found = re.findall(rf" {outcome}(?: \(.*\))? +\[ *\d+%\]|%\] {outcome} tests/", text)
    counts = Counter(behind or before for behind, before in found)
    return ", ".join(f"{count} {outcome.lower()}" for outcome, count in sorted(counts.items())) or "no test"


def count_statuses(table: Path) -> str:
    """Count the statuses of timed cases, those that are well first."""
    rows = csv.DictReader(table.open(newline=""))
    counts = Counter(row["status"] for row in rows)
    return "; ".join(f"{counts[status]} {status}" for status in sorted(counts, key=lambda name: name != "ok"))


def list_rates(table: Path) -> str:
    """List the steps a second of each model, the last that were measured."""
    rows = csv.DictReader(table.open(newline=""))
    last = {row["model"]: row["steps_per_second"] for row in rows if row["loop"] == "rlsp"}
    return ", ".join(f"{model} {float(rate):.1f} steps/s" for model, rate in last.items())


def print_summary(path: Path) -> None:
    """Print the summary as Markdown."""
    from rlsp.reporting.printing import markdown_lines
    from rlsp.reporting.table import Table

    heads, *rows = csv.reader(path.open(newline=""))
    print(markdown_lines(Table.of_cells(heads, rows)))


def read_limit(text: str) -> tuple[str, float]:
    """Read ``<part>=<seconds>``."""
    part, _, seconds = text.partition("=")
    if part not in LIMITS or not re.fullmatch(r"\d+(\.\d+)?", seconds):
        raise argparse.ArgumentTypeError(
            f"expected one of {', '.join(LIMITS)} and seconds, as in times=60, got {text}"
        )
    return part, float(seconds)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(LIMITS)} (default: all)")
    parser.add_argument(
        "--study", type=Path, action="append", metavar="FILE", help="default: config/gpu-session.yaml"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="default: cuda")
    parser.add_argument("--limit", type=read_limit, action="append", default=[], metavar="PART=SECONDS")
    parser.add_argument("--output", type=Path, default=Path("results") / "gpu", help="default: results/gpu")
    parser.add_argument(
        "--tiny", action="store_true", help="measure as little as possible, to see that it runs"
    )
    args = parser.parse_args()
    if unknown := [part for part in args.parts if part not in LIMITS]:
        parser.error(f"expected parts of {', '.join(LIMITS)}, got {unknown[0]}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(f"stopped by {signal.Signals(number).name}"))
    find_packages()
    from rlsp.errors import one_line_errors
    from rlsp.provenance import check_torch, describe_environment

    with one_line_errors():
        check_torch()
        from rlsp.devices import claim_device, describe_device
        from rlsp.files import write_json
        from rlsp.reporting.reference import device_folder

        with claim_device(args.device) as where:  # given back at once: the parts take it themselves
            name = describe_device(where)
        folder = args.output.resolve() / device_folder(name)
        studies = [path.resolve() for path in args.study or [ROOT / "config" / "gpu-session.yaml"]]
        os.chdir(ROOT)  # data and results of a study lie in the folder in which it is run
        session = Session(studies, args.device, folder, tiny=args.tiny)
        provenance = {**describe_environment(), "device": name}
        write_json(folder / "provenance.json", provenance, sort_keys=True)
        limits = LIMITS | dict(args.limit)
        for part in args.parts or LIMITS:
            session.run(part, limits[part])
    print_summary(folder / "summary.csv")
    sys.exit(0 if all(row["status"] in WELL for row in session.rows) else 1)


if __name__ == "__main__":
    main()
