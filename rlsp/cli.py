"""The command ``rlsp``: every step of the workflow by hand, and tools for one's own video."""

import argparse
import functools
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rlsp import __version__
from rlsp.config.checks import check_known
from rlsp.config.schema import FRAME_SIZES, PRECISIONS, ROOT
from rlsp.config.study import Study
from rlsp.errors import ConfigError, DataError, one_line_errors
from rlsp.files import write_rows
from rlsp.provenance import check_torch

OWN_RATES = Path("results") / "training-rate"
Command = Callable[[argparse.Namespace], None]


def read_study(args: argparse.Namespace) -> Study:
    """Read the study that a command is about."""
    return Study.from_file(*(args.study or [ROOT / "config" / "demo.yaml"]))


def fetch_command(args: argparse.Namespace) -> None:
    """Download the files that a study needs, checked against their SHA-256."""
    from rlsp.data.sources import fetch
    from rlsp.planning.space import check_space, space_needed

    study = read_study(args)
    names = args.download or study.missing_downloads()
    for name in names:
        check_known("download", name, study.config["downloads"])
    check_space(space_needed(study, names), study.data_root)
    for name in names:
        fetch(name, study.download(name), study.downloaded(name))


def pack_command(args: argparse.Namespace) -> None:
    """Pack a data set of a study into memory-mappable clips."""
    from rlsp.data.packing import pack_dataset

    study = read_study(args)
    for manifest in study.packing_steps(args.dataset):
        pack_dataset(
            args.dataset,
            study.dataset(args.dataset),
            manifest,
            downloads=study.downloads_of(args.dataset),
            scale=study.config["scale"],
            workers=args.workers,
        )


def degrade_command(args: argparse.Namespace) -> None:
    """Make the LR clips of a data set."""
    from rlsp.data.degradation import degrade_dataset

    study = read_study(args)
    degrade_dataset(
        study.clips(args.dataset),
        study.degradation(args.degradation),
        study.lr(args.degradation, args.dataset),
        workers=args.workers,
    )


def compare_lr_command(args: argparse.Namespace) -> None:
    """Compare our bicubic LR clips of a data set with those that its publisher made."""
    from rlsp.data.official_lr import compare_lr

    study = read_study(args)
    check_known("compare_lr", args.dataset, study.with_official_lr())
    spec = study.official_lr(args.dataset)
    table = study.lr_comparison(args.dataset)
    download = study.downloaded(spec["download"])
    clips = study.clips(args.dataset)
    print(compare_lr(args.dataset, spec, clips, download, table, workers=args.workers))


def flow_command(args: argparse.Namespace) -> None:
    """Compute the ground-truth optical flow of a data set."""
    from rlsp.data.flow import write_flow_dataset

    study = read_study(args)
    write_flow_dataset(study.clips(args.dataset), study.flow(args.dataset), workers=args.workers)


def train_command(args: argparse.Namespace) -> None:
    """Train a run of a study; going on from its last checkpoint if there is one."""
    from rlsp.training import TrainingJob, train

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
            device=args.device or study.config["device"],
            stage_to=study.config["stage_to"],
            **study.config["training"],
        )
    )


def rate_command(args: argparse.Namespace) -> None:
    """Measure training steps a second of a study's models, beside a plain loop over PNG files."""
    from rlsp.columns import TRAINING_RATE
    from rlsp.reporting.reference import device_folder
    from rlsp.timing.hardware import measure_matrix_rate
    from rlsp.training.rate import measure_rates

    study = read_study(args)
    chosen = {}  # one run of each model and recipe
    for run in [study.run(name, "trained") for name in args.run] or study.runs_of("trained"):
        chosen.setdefault((run.model, run.recipe), run)
    trainings = []
    for run in chosen.values():
        count = len(run.train_sets)
        manifests = study.train_hr(run.id)[:count], study.train_lr(run.id)[:count]
        trainings.append((run.model, study.training(run.id), *manifests))
    if not trainings:
        raise ConfigError(f"study {study.name}: expected a study that trains, it has no run with a recipe")
    rows = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # leaves no pictures behind
    for of_model in measure_rates(
        trainings,
        device=args.device or study.config["device"],
        workers=study.config["training"]["workers"],
        resident=study.config["training"]["resident"],
        seconds=args.seconds,
        rounds=args.rounds,
        matrix_rate=functools.cache(measure_matrix_rate),
    ):
        rows += of_model
        path = args.output or OWN_RATES / device_folder(rows[0]["device"]) / "training_rate.csv"
        write_rows(path, TRAINING_RATE.names, rows)  # each time: a run that is killed has lost one model
    print(path)


def restore_command(args: argparse.Namespace) -> None:
    """Restore a data set with a run of a study."""
    from rlsp.inference.restoration import restore_run

    study = read_study(args)
    run = study.run(args.run, "trained", "weights", "interpolation")
    restore_run(
        study.restored_from(run.id),
        study.test_lr(run.id, args.dataset),
        study.restored(run.id, args.dataset),
        run=run.id,
        degradation=study.degradation(run.degradation),
        threads=args.threads,
        device=args.device or study.restoring_device(run.id),
        precision=args.precision or study.restoring_precision(run.id),
        trusted_arch=study.own_arch(run.id),
    )


def adopt_command(args: argparse.Namespace) -> None:
    """Take in the frames of a run that were restored elsewhere."""
    from rlsp.inference.external import adopt_frames

    study = read_study(args)
    run = study.run(args.run, "frames")
    manifest = study.restored(run.id, args.dataset)
    adopt_frames(study.clips(args.dataset), manifest, frames=study.frames_of(run.id), run=run.id)


def convert_command(args: argparse.Namespace) -> None:
    """Convert a released checkpoint into weights of ours."""
    from rlsp.released.conversion import convert_checkpoint

    study = read_study(args)
    run = study.run(args.run, "weights")
    checkpoint = study.released_checkpoint(run.id)
    convert_checkpoint(checkpoint["prefix"], study.weights(run.id), **checkpoint["facts"])


def exactness_command(args: argparse.Namespace) -> None:
    """Check that our pictures are the released ones, to one grey level."""
    from rlsp.released.exactness import check_exactness

    study = read_study(args)
    for name, pair in study.exactness_pairs().items():
        table = study.folder / "exactness" / f"{name}.csv"
        check_exactness(*study.exactness_pair(name), table, full_frames=study.full_frames())
        print(f"{' and '.join(pair)} agree: {table}")


def score_command(args: argparse.Namespace) -> None:
    """Score the restored frames of a run against the ground truth."""
    from rlsp.evaluation.scoring import score_dataset

    study = read_study(args)
    run = study.run(args.run)
    score_dataset(
        study.restored(run.id, args.dataset),
        study.clips(args.dataset),
        study.flow(args.dataset),
        study.scores(run.id, args.dataset),
        labels=study.labels(run.id, args.dataset),
        crops=study.config["score"]["crops"],
        workers=args.workers,
    )


def time_command(args: argparse.Namespace) -> None:
    """Time all models of a study side by side; nothing else should run on the machine meanwhile."""
    from rlsp.timing.cases import Timing
    from rlsp.timing.tables import time_models

    study = read_study(args)
    specs = study.timed_models()
    for name in args.models or []:
        check_known("model", name, specs)
    table = args.output or study.runtime()
    cases = args.output.with_name(f"{args.output.stem}-cases.csv") if args.output else study.runtime_cases()
    time_models(
        {name: spec for name, spec in specs.items() if name in (args.models or specs)},
        table,
        cases,
        study=study.name,
        timing=Timing.from_config(study.config["runtime"] | _given(args, *Timing.__dataclass_fields__)),
        device=args.device or study.config["device"],
    )
    print(table, cases, sep="\n")


def sweep_command(args: argparse.Namespace) -> None:
    """Time a model with frame size, clip length, filters and layers varied, for the cost curves."""
    from rlsp.timing.cases import Timing
    from rlsp.timing.sweep import sweep_model

    study = read_study(args)
    model = args.model or study.config["runtime"]["sweep"] or study.config["reference_model"]
    check_known("model", model, study.config["models"])
    table = args.output or study.runtime().with_name(f"{study.config['device']}-sweep.csv")
    sweep_model(
        model,
        study.model(model),
        table,
        study=study.name,
        timing=Timing.from_config(study.config["runtime"] | _given(args, "repeats", "threads")),
        device=args.device or study.config["device"],
    )
    print(table)


def compare_precisions_command(args: argparse.Namespace) -> None:
    """Compare the pictures of lower precisions with those of fp32, on test clips and on a long one."""
    from rlsp.evaluation.precisions import compare_precisions

    study = read_study(args)
    table = study.tables() / "precisions.csv"
    compare_precisions(
        study.compared_precisions(),
        table,
        study=study.name,
        precisions=study.config["precisions"]["compare"],
        long_clip=study.config["precisions"]["long_clip"],
        threads=args.threads,
        device=args.device or study.config["device"],
    )
    print(table)


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Keep the options that were given on the command line."""
    return {name: value for name in names if (value := getattr(args, name, None)) is not None}


def tables_command(args: argparse.Namespace) -> None:
    """Collect the rows of a study and write its tables."""
    from rlsp.reporting.tables import collect_tables, write_tables

    study = read_study(args)
    collect_tables(
        study.all_scores(),
        [study.runtime()],
        study.training_logs(),
        study.tables(),
        case_files=[study.runtime_cases()],
        sweep_files=study.sweeps(),
    )
    write_tables(study.tables(), study.facts())
    print(study.tables())


def figures_command(args: argparse.Namespace) -> None:
    """Redraw the figures that need numbers only, from a folder of tables."""
    from rlsp.reporting.figures import redraw_figures
    from rlsp.reporting.published import published_points

    target = args.output or args.tables.parent / "figures" / "numbers"
    for path in redraw_figures(args.tables, target, published=published_points()):
        print(path)


def pictures_command(args: argparse.Namespace) -> None:
    """Draw the temporal profiles and crops of a study."""
    from rlsp.reporting.pictures import draw_gallery

    study = read_study(args)
    for path in draw_gallery(study.picture_inputs(), study.figures() / "pictures"):
        print(path)


def estimate_command(args: argparse.Namespace) -> None:
    """Say what a study costs before it is run: operations, hours on measured devices, space."""
    from rlsp.planning.estimate import read_rates
    from rlsp.reporting.estimates import estimate_study

    print(estimate_study(read_study(args), read_rates(*args.rates), args.output))


def report_command(args: argparse.Namespace) -> None:
    """Execute the report notebook of a study into one HTML page."""
    from rlsp.reporting.report import write_report

    study = read_study(args)
    page = study.folder / "report.html"
    write_report(ROOT / "notebooks" / "report.ipynb", page, study=study.name, results=study.folder)
    print(page)


def compare_command(args: argparse.Namespace) -> None:
    """Put two result folders side by side."""
    from rlsp.reporting.compare import compare, comparison_markdown

    print(comparison_markdown(compare(args.a, args.b), str(args.a), str(args.b)))


def reference_command(args: argparse.Namespace) -> None:
    """Copy tables and number-only figures to results/reference/<study>/<device>."""
    from rlsp.reporting.reference import copy_reference

    print(copy_reference(args.results))


def count_command(args: argparse.Namespace) -> None:
    """Count the parameters and the operations of a study's models."""
    from rlsp.models.complexity import write_counts

    study = read_study(args)
    write_counts(study.facts()["models"], study.counts())
    print(study.counts())


def claims_command(args: argparse.Namespace) -> None:
    """Write the ledger of published claims from the tables of the released study and of others."""
    from rlsp.models.complexity import write_counts
    from rlsp.reporting.claims import write_claims

    study = read_study(args)
    if not study.counts().exists():
        write_counts(study.facts()["models"], study.counts())
    write_claims(study.tables(), study.facts(), [folder / "tables" for folder in args.others])
    print(study.tables() / "claims.md")


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
    )


def diagnose_command(args: argparse.Namespace) -> None:
    """Name what is wrong with a pair of restored clip and ground truth whose score is too low."""
    import numpy as np

    from rlsp.data.clips import read_frames
    from rlsp.evaluation.diagnosis import diagnose

    def read_clip(path: Path) -> np.ndarray:
        frames = list(islice(read_frames(path), args.frames))
        shapes = {frame.shape for frame in frames}
        if len(shapes) != 1:
            raise DataError(f"{path}: expected frames of one size, got {sorted(shapes) or 'none'}")
        return np.stack(frames)

    findings = diagnose(read_clip(args.sr), read_clip(args.hr), scale=args.scale)
    for finding in findings:
        gain = f"PSNR {finding.psnr_before:.2f} dB, without it {finding.psnr_after:.2f} dB"
        print(f"{finding.name}: {finding.message} ({gain})")
    if not findings:
        print("nothing found: no shift, frame offset, swapped channel, wrong range, matrix or blur")


def init_command(args: argparse.Namespace) -> None:
    """Lay out a new folder with a small study to change, for use without a clone."""
    from rlsp.starting import start_folder

    for path in start_folder(args.folder):
        print(path)
    print(f"next:\n  cd {shlex.quote(str(args.folder))}\n  snakemake -n\n  snakemake --cores all")


def keys_command(args: argparse.Namespace) -> None:
    """Describe every configuration key, as in config/README.md."""
    from rlsp.config.keys import list_keys

    print(list_keys())


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, but not that of an option which then takes the study's value."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def positive(text: str) -> int:
    """Read a whole number above zero from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {number}")
    return number


def frame_size(text: str) -> str | tuple[int, int]:
    """Parse the name of a frame size, or HxW in LR pixels.

    Raises
    ------
    argparse.ArgumentTypeError
        It is neither.
    """
    if text in FRAME_SIZES:
        return text
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or min(map(int, found.groups())) < 8:
        raise argparse.ArgumentTypeError(
            f"expected {', '.join(FRAME_SIZES)} or HxW of at least 8 pixels, got {text!r}"
        )
    return int(found[1]), int(found[2])


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="rlsp", description=__doc__)
    parser.add_argument("--version", action="version", version=f"rlsp {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command_name")

    def add(name: str, command: Command, *arguments: str) -> argparse.ArgumentParser:
        summary = (command.__doc__ or "").splitlines()[0]
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary,
            formatter_class=DefaultsFormatter,
        )
        for argument in arguments:
            SHARED[argument](sub)
        sub.set_defaults(command=command)
        return sub

    sub = add("fetch", fetch_command, "study")
    sub.add_argument("download", nargs="*", help="names of downloads (default: all that the study needs)")
    add("pack", pack_command, "study", "workers", "dataset")
    add("degrade", degrade_command, "study", "workers", "dataset").add_argument(
        "degradation", help="name of a degradation of the study"
    )
    add("compare-lr", compare_lr_command, "study", "workers", "dataset")
    add("flow", flow_command, "study", "workers", "dataset")
    add("train", train_command, "study", "device", "run")
    sub = add("rate", rate_command, "study", "device")
    sub.add_argument("run", nargs="*", help="ids of runs (default: one of each model and recipe)")
    sub.add_argument(
        "--seconds", type=float, default=2, help="time of each loop in a round, three steps at least"
    )
    sub.add_argument("--rounds", type=positive, default=5, help="rounds, in which the loops take turns")
    sub.add_argument(
        "--output", type=Path, help="CSV file (default: results/training-rate/<device>/training_rate.csv)"
    )
    sub = add("restore", restore_command, "study", "device", "threads", "run", "dataset")
    sub.add_argument("--precision", choices=PRECISIONS, help="of the network (default: the study's)")
    add("adopt", adopt_command, "study", "run", "dataset")
    add("convert", convert_command, "study", "run")
    add("exactness", exactness_command, "study")
    add("score", score_command, "study", "workers", "run", "dataset")
    add("compare-precisions", compare_precisions_command, "study", "device", "threads")
    sub = add("time", time_command, "study", "device")
    sub.add_argument("--models", nargs="+", metavar="MODEL", help="of the study's (default: all)")
    sub.add_argument(
        "--sizes",
        nargs="+",
        type=frame_size,
        metavar="SIZE",
        help="frames: 360p, 720p, full-hd or 4k, or HxW of the LR frame in pixels (default: the study's)",
    )
    sub.add_argument(
        "--grid",
        action="store_true",
        default=None,
        help="every precision, mode, boundary, batch and size (default: the headline's)",
    )
    sub.add_argument("--repeats", type=positive, help="most samples of each case (default: the study's)")
    sub.add_argument(
        "--seconds", type=float, help="most time for the samples of a case (default: the study's)"
    )
    sub.add_argument(
        "--warmup", type=positive, help="least frames before the first sample (default: the study's)"
    )
    sub.add_argument("--threads", type=positive, help="CPU threads (default: the study's)")
    sub.add_argument(
        "--output", type=Path, help="CSV file, times in ms per output frame; the cases go to <name>-cases.csv"
    )
    sub = add("sweep", sweep_command, "study", "device")
    sub.add_argument("--model", help="a model of the catalogue (default: the study's)")
    sub.add_argument("--repeats", type=positive, help="most samples of each case (default: the study's)")
    sub.add_argument("--threads", type=positive, help="CPU threads (default: the study's)")
    sub.add_argument("--output", type=Path, help="CSV file")
    add("tables", tables_command, "study")
    sub = add("figures", figures_command)
    sub.add_argument(
        "--tables", type=Path, required=True, help="folder of tables, such as results/demo/tables"
    )
    sub.add_argument(
        "--output", type=Path, help="folder for the figures (default: figures/numbers beside it)"
    )
    add("pictures", pictures_command, "study")
    sub = add("estimate", estimate_command, "study")
    sub.add_argument(
        "--rates",
        type=Path,
        nargs="*",
        default=[OWN_RATES, ROOT / "results" / "reference" / "training-rate"],
        help="folders of measured rates, <device>/training_rate.csv",
    )
    sub.add_argument("--output", type=Path, help="folder for costs.md, costs_training.csv, costs_disk.csv")
    add("report", report_command, "study")
    sub = add("compare", compare_command)
    sub.add_argument("a", type=Path, help="a folder of results, such as results/demo")
    sub.add_argument("b", type=Path, help="another one")
    add("reference", reference_command).add_argument("results", type=Path, help="such as results/demo")
    add("count", count_command, "study")
    sub = add("claims", claims_command, "study")
    sub.add_argument("others", type=Path, nargs="*", help="results of other studies, such as results/small")
    sub = add("upscale", upscale_command, "device")
    sub.add_argument("source", type=Path, help="video file, or folder of PNG pictures")
    sub.add_argument("target", type=Path, help="video file (.mp4 .m4v .mov .mkv), or folder for PNG pictures")
    sub.add_argument("--weights", required=True, help="released:7-48, released:7-64, or a .safetensors file")
    sub.add_argument(
        "--precision",
        choices=["auto", *PRECISIONS],
        default="auto",
        help="of the network; auto is bf16 where the device has it, else fp32",
    )
    sub.add_argument("--threads", type=positive, help="CPU threads (default: all cores)")
    sub.add_argument("--data-root", type=Path, default=Path("data"), help="folder for downloads")
    sub.add_argument("--crf", type=float, default=16, help="quality of the video; lower is better")
    sub.add_argument(
        "--frame-rate", type=positive, default=25, help="frames per second of a video made from pictures"
    )
    sub = add("diagnose", diagnose_command)
    sub.add_argument("sr", type=Path, help="restored clip: video file, or folder of PNG pictures")
    sub.add_argument("hr", type=Path, help="ground truth, likewise")
    sub.add_argument("--scale", type=positive, default=4, help="up-scaling factor")
    sub.add_argument("--frames", type=positive, default=100, help="look at the first frames only")
    sub = add("init", init_command)
    sub.add_argument("folder", type=Path, help="where Snakefile, study.yaml and profiles go")
    add("keys", keys_command)
    return parser


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--study",
        type=Path,
        action="append",
        metavar="FILE",
        help="study file (default: config/demo.yaml); a second one changes the first",
    )


SHARED: dict[str, Callable[[argparse.ArgumentParser], object]] = {
    "study": _add_study,
    "run": lambda parser: parser.add_argument("run", help="id of a run, such as rlsp-3-32.gaussian.s0"),
    "dataset": lambda parser: parser.add_argument("dataset", help="name of a data set of the study"),
    "workers": lambda parser: parser.add_argument(
        "--workers", type=positive, default=2, help="parallel workers"
    ),
    "threads": lambda parser: parser.add_argument("--threads", type=positive, default=2, help="CPU threads"),
    "device": lambda parser: parser.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], help="device (default: the study's)"
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = build_parser().parse_args(argv)
    with one_line_errors():
        try:
            check_torch()
            args.command(args)
        except KeyboardInterrupt:
            sys.exit("interrupted")
