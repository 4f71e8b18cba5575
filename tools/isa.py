"""Run the numerical tests on every set of vector instructions that this processor has, on one and on two threads.

Results of a run differ between processors in the order of sums and in the instructions for bf16. oneDNN and ATen can
be told to use fewer instructions than there are, which shows here what another processor would do; MKL's matrix
products stay those of this processor.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import torch

from rlsp.devices import describe_device
from rlsp.files import write_rows
from rlsp.reporting.printing import markdown_lines
from rlsp.reporting.table import Table

# Level, its variables, and the levels of ATen that have it (torch.backends.cpu.get_cpu_capability) on x86-64.
X86 = ("NO AVX", "DEFAULT", "AVX2", "AVX512")
LEVELS = {
    "SSE41": ({"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"}, X86),
    "AVX2": ({"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}, X86[2:]),
    "AVX512_CORE": ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"}, X86[3:]),
    "DEFAULT": ({}, None),
}
COLUMNS = ("device", "level", "threads", "passed", "failed", "skipped", "seconds", "skipped_why", "failures")


def available_levels() -> list[str]:
    """List the levels that this processor has, the lowest first."""
    is_x86, here = platform.machine().lower() in ("x86_64", "amd64"), torch.backends.cpu.get_cpu_capability()
    return [name for name, (_, levels) in LEVELS.items() if levels is None or (is_x86 and here in levels)]


def run_tests(level: str, threads: int, arguments: list[str]) -> dict[str, object]:
    """Run the tests at a level; returns a row of `COLUMNS`, without the device."""
    limits = {**LEVELS[level][0], "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    workers = (os.cpu_count() or 1) // threads
    parallel = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        limits["TORCHINDUCTOR_CACHE_DIR"] = folder  # code compiled for another level crashes at this one
        command = [sys.executable, "-m", "pytest", "-q", "-m", "numerical", f"--junitxml={report}"]
        started = time.monotonic()
        done = subprocess.run(
            [*command, *parallel, *arguments], env={**os.environ, **limits}, stdout=sys.stderr
        )
        seconds = time.monotonic() - started
        row = {"level": level, "threads": threads, "seconds": round(seconds)}
        if not report.exists():
            return row | {"failures": f"pytest ended with status {done.returncode} and no report"}
        return row | count_cases(report)


def count_cases(report: Path) -> dict[str, object]:
    """Count the outcomes in a report of pytest (JUnit XML); returns them with the reasons and the names of failures."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    failures = [case.get("name") for case in cases if {"failure", "error"} & {part.tag for part in case}]
    reasons = Counter(part.get("message") for case in cases for part in case if part.tag == "skipped")
    skipped = sum(reasons.values())
    return {
        "passed": len(cases) - len(failures) - skipped,
        "failed": len(failures),
        "skipped": skipped,
        "skipped_why": "; ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())),
        "failures": "; ".join(failures),
    }


def print_table(rows: list[dict[str, object]]) -> None:
    """Print rows as Markdown."""
    columns = [column for column in COLUMNS if column != "device"]
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    print(markdown_lines(Table.of_cells(columns, cells)))


def main() -> None:
    """Run the command line; exit status 1 when a test failed at any level."""
    levels = available_levels()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--levels", nargs="+", choices=levels, default=levels, help="default: all there are")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="OpenMP threads of each run")
    parser.add_argument(
        "--output", type=Path, help="CSV file, such as results/reference/test-isa/<device>/isa.csv"
    )
    parser.add_argument("arguments", nargs="*", help="further arguments for pytest, after --")
    args = parser.parse_args()
    rows = []
    for level in args.levels:
        for threads in args.threads:
            rows.append({"device": describe_device("cpu"), **run_tests(level, threads, args.arguments)})
            if args.output:
                write_rows(args.output, COLUMNS, rows)
    print_table(rows)
    sys.exit(1 if any(row["failures"] for row in rows) else 0)


if __name__ == "__main__":
    main()
