"""Work on studies of RLSP and on one's own video; the steps of a study are targets of Snakemake (rlsp where)."""

import argparse
import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rlsp import __version__
from rlsp.arguments import ARGUMENTS, OWN_RATES, DefaultsFormatter
from rlsp.errors import ConfigError, DataError, one_line_errors
from rlsp.shipped import ROOT

# What a command needs it imports itself, so that help is there at once.
if TYPE_CHECKING:
    from rlsp.config.study import Study


def read_study(args: argparse.Namespace) -> "Study":
    """Read the study that a command is about."""
    from rlsp.config.study import Study

    return Study.from_file(*(args.study or [ROOT / "config" / "demo.yaml"]))


def fetch_command(args: argparse.Namespace) -> None:
    """Download the files that a study needs, checked against their SHA-256."""
    from rlsp.config.checks import check_known
    from rlsp.config.needs import few_of_archive, needed_downloads
    from rlsp.data.sources import fetch
    from rlsp.planning.space import check_space, space_needed

    study = read_study(args)
    names = args.download or needed_downloads(study, missing=True)
    for name in names:
        check_known("download", name, study.spec.downloads)
    check_space(space_needed(study, names), study.paths.data)
    for name in names:
        folders = few_of_archive(study, name) if name in study.archives else ()
        fetch(name, study.download(name), study.downloaded(name), folders)


def where_command(args: argparse.Namespace) -> None:
    """Name the targets of Snakemake that make each step of a run, and the command that makes the last."""
    import shlex

    from rlsp.planning.targets import step_targets

    steps = step_targets(read_study(args), args.run, args.dataset)
    width = max(map(len, steps))
    for step, targets in steps.items():
        for target in targets:
            print(f"{step:{width}}  {target}")
    # --configfile takes every word up to the next option
    options = ["--configfile", *args.study] if args.study else []
    print()
    print(shlex.join(map(str, ["snakemake", *options, "--cores", "all", *steps["scores"]])))


def lr_command(args: argparse.Namespace) -> None:
    """Write the LR frames of a data set as PNG, for a method that runs elsewhere."""
    from rlsp.config.checks import check_known
    from rlsp.data.clips import write_frames

    study = read_study(args)
    check_known("dataset", args.dataset, study.test_sets)
    made = sorted({run.degradation for run in study.runs.values() if args.dataset in run.test_sets})
    wanted = args.degradation or (made[0] if len(made) == 1 else None)
    check_known("--degradation", wanted, made)
    manifest = study.lr(wanted, args.dataset)
    if not manifest.is_file():
        options = "".join(f" --configfile {path}" for path in args.study or [])
        raise DataError(f"{manifest}: not made yet; say: snakemake{options} --cores all {manifest}")
    for folder in write_frames(manifest, args.folder):
        print(folder)


def train_command(args: argparse.Namespace) -> None:
    """Train a run of a study; going on from its last checkpoint if there is one."""
    from rlsp.training import TrainingJob, train
    from rlsp.training.taking import equal_folders

    study = read_study(args)
    run = study.run(args.run, "trained")
    train(
        TrainingJob(
            study.training(run.id),
            hr_manifests=study.train_hr(run.id),
            lr_manifests=study.train_lr(run.id),
            weights_path=study.weights(run.id),
            folder=study.training_folder(run.id),
            start=study.train_start(run.id),
            equal=equal_folders(study.weights(run.id), study.spec.extends),
            device=args.device or study.spec.device,
            stage_to=study.spec.stage_to,
            **study.spec.training.dump(),
        )
    )


def rate_command(args: argparse.Namespace) -> None:
    """Measure training steps a second of a study's models, beside a plain loop over PNG files."""
    import functools

    from rlsp.columns import TRAINING_RATE
    from rlsp.files import write_rows
    from rlsp.reporting.reference import device_folder
    from rlsp.timing.hardware import measure_matrix_rate
    from rlsp.training.rate import measure_rates

    study = read_study(args)
    rows = []
    for of_model in measure_rates(
        rated_trainings(study, args.run),
        device=args.device or study.spec.device,
        workers=study.spec.training.workers,
        resident=study.spec.training.resident,
        seconds=args.seconds,
        rounds=args.rounds,
        matrix_rate=functools.cache(measure_matrix_rate),
    ):
        rows += of_model
        path = args.output or OWN_RATES / device_folder(rows[0]["device"]) / "training_rate.csv"
        write_rows(path, TRAINING_RATE.names, rows)  # each time: a run that is killed has lost one model
    print(path)


def rated_trainings(study: "Study", run_ids: Sequence[str]) -> list[tuple]:
    """List model, training and manifests of HR and LR clips of one run of each model and recipe."""
    chosen = {}
    for run in [study.run(name, "trained") for name in run_ids] or study.runs_of("trained"):
        chosen.setdefault((run.model, run.recipe), run)
    if not chosen:
        raise ConfigError(f"study {study.name}: expected a study that trains, it has no run with a recipe")
    trainings = []
    for run in chosen.values():
        count = len(run.train_sets)
        manifests = study.train_hr(run.id)[:count], study.train_lr(run.id)[:count]
        trainings.append((run.model, study.training(run.id), *manifests))
    return trainings


def time_command(args: argparse.Namespace) -> None:
    """Time all models of a study side by side; nothing else should run on the machine meanwhile."""
    from rlsp.config.checks import check_known
    from rlsp.config.specs.study import Runtime
    from rlsp.timing.tables import time_models

    study = read_study(args)
    specs = study.timed_models()
    for name in args.models or []:
        check_known("model", name, specs)
    table = args.output or study.runtime()
    cases = args.output.with_name(f"{args.output.stem}-cases.csv") if args.output else study.runtime("cases")
    given = {
        name: getattr(args, name) for name in Runtime.model_fields if getattr(args, name, None) is not None
    }
    time_models(
        {name: spec for name, spec in specs.items() if name in (args.models or specs)},
        table,
        cases,
        study=study.name,
        timing=Runtime.parse(study.spec.runtime.dump() | given, "runtime"),
        device=args.device or study.spec.device,
    )
    print(table, cases, sep="\n")


def figures_command(args: argparse.Namespace) -> None:
    """Redraw the figures that need numbers only, from the rows of a study."""
    from rlsp.reporting.render import render_figures

    folder = args.results.parent if args.results.name == "tables" else args.results
    for path in render_figures(folder, args.output):
        print(path)


def estimate_command(args: argparse.Namespace) -> None:
    """Say what a study costs before it is run: operations, hours on measured devices, space."""
    from rlsp.planning.estimate import read_rates
    from rlsp.reporting.estimates import estimate_study

    print(estimate_study(read_study(args), read_rates(*args.rates), args.output))


def compare_command(args: argparse.Namespace) -> None:
    """Put two result folders side by side."""
    from rlsp.reporting.compare import compare, comparison_markdown

    print(comparison_markdown(compare(args.a, args.b), str(args.a), str(args.b)))


def reference_command(args: argparse.Namespace) -> None:
    """Copy tables and number-only figures to results/reference/<study>/<device>."""
    from rlsp.reporting.reference import copy_reference

    print(copy_reference(args.results))


def upscale_command(args: argparse.Namespace) -> None:
    """Restore one's own video or folder of PNG pictures at four times its size."""
    from rlsp.inference.upscaling import upscale

    upscale(
        args.source,
        args.target,
        weights=args.weights,
        device=args.device or "auto",
        precision=args.precision,
        threads=args.threads,
        data_root=args.data_root,
        crf=args.crf,
        frame_rate=args.frame_rate,
        find_cuts=args.find_cuts,
        keep_going=args.keep_going,
    )


def convert_command(args: argparse.Namespace) -> None:
    """Convert weights that PyTorch or the authors' TensorFlow wrote, to run them here."""
    from rlsp.config.checks import check_known
    from rlsp.config.specs.models import parse_model
    from rlsp.released.foreign import convert_weights

    study = read_study(args)
    check_known("--model", args.model, study.spec.models)
    check_known("--degradation", args.degradation, study.spec.degradations)
    changed = {} if args.input_range is None else {"input_range": args.input_range}
    convert_weights(
        args.source,
        args.target,
        model=parse_model(study.model(args.model).dump() | changed),
        degradation=study.degradation(args.degradation),
        licence=args.licence,
    )
    print(args.target)


def diagnose_command(args: argparse.Namespace) -> None:
    """Name what is wrong with a pair of restored clip and ground truth whose score is too low."""
    from itertools import islice

    import numpy as np

    from rlsp.data.clips import read_frames
    from rlsp.evaluation.diagnosis import diagnose

    def read_clip(path: Path) -> np.ndarray:
        frames = list(islice(read_frames(path), args.frames))
        shapes = {frame.shape for frame in frames}
        if len(shapes) != 1:
            raise DataError(f"{path}: expected frames of one size, got {sorted(shapes) or 'none'}")
        return np.stack(frames)

    sr, hr = read_clip(args.sr), read_clip(args.hr)
    if len(sr) != len(hr):
        print(f"number of frames: {args.sr} has {len(sr)}, {args.hr} has {len(hr)}")
    findings = diagnose(sr, hr, scale=args.scale)
    for finding in findings:
        print(f"{finding.name}: {finding.message}")
    if not findings:
        print(
            "nothing found: not turned, no shift, frame offset, swapped channel, wrong range, matrix or blur"
        )


def init_command(args: argparse.Namespace) -> None:
    """Lay out a new folder with a small study to change, for use without a clone."""
    import shlex

    from rlsp.starting import start_folder

    for path in start_folder(args.folder):
        print(path)
    print(f"next:\n  cd {shlex.quote(str(args.folder))}\n  snakemake -n\n  snakemake --cores all")


def keys_command(args: argparse.Namespace) -> None:
    """Describe every configuration key, as in config/README.md."""
    from rlsp.config.keys import json_schema, list_keys

    print(json_schema().rstrip() if args.schema else list_keys())


COMMANDS = {
    "fetch": fetch_command,
    "where": where_command,
    "lr": lr_command,
    "train": train_command,
    "rate": rate_command,
    "time": time_command,
    "figures": figures_command,
    "estimate": estimate_command,
    "compare": compare_command,
    "reference": reference_command,
    "upscale": upscale_command,
    "convert": convert_command,
    "diagnose": diagnose_command,
    "init": init_command,
    "keys": keys_command,
}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="rlsp", description=__doc__)
    parser.add_argument("--version", action="version", version=f"rlsp {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="command", dest="command_name")
    for name, command in COMMANDS.items():
        words = (command.__doc__ or "").splitlines()[0]
        sub = subparsers.add_parser(name, help=words, description=words, formatter_class=DefaultsFormatter)
        for names, options in ARGUMENTS[name]:
            sub.add_argument(*names, **options)
        sub.set_defaults(command=command)
    return parser


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let a terminal that is closed and a scheduler end a command as Ctrl-C does: nothing is left half written."""

    def end(number: int, _: object) -> None:
        sys.exit(f"stopped by {signal.Signals(number).name}")

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # of nohup it is not
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, io.TextIOWrapper
        ):  # a locale that lacks a letter of a name is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        with one_line_errors(), ended_by_signals():
            args = build_parser().parse_args(argv)
            from rlsp.provenance import check_torch

            check_torch()
            args.command(args)
            if sys.stdout is not None:  # closed by >&-
                sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except BrokenPipeError:  # whoever reads has seen enough, as with head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
