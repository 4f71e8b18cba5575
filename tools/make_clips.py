"""Make the training clips of a study, HR and LR, on a machine without Snakemake; those that are there stay."""

import argparse
from pathlib import Path

from rlsp.config.study import Study
from rlsp.data.degradation import degrade_dataset
from rlsp.data.packing import pack_dataset
from rlsp.errors import one_line_errors


def make_clips(study: Study, *, workers: int) -> None:
    """Pack and degrade what the trainings of a study read, and what is not there yet."""
    runs = study.runs_of("trained")
    learnt_from = {(name, run.degradation) for run in runs for name in run.learnt_from}
    for name in sorted({name for name, _ in learnt_from}):
        if study.clips(name).exists():
            continue
        pack_dataset(
            name,
            study.dataset(name),
            study.clips(name),
            source=next(iter([*study.archives_of(name), *study.files_of(name)]), None),
            workers=workers,
        )
    for name, degradation in sorted(learnt_from):
        if not study.lr(degradation, name).exists():
            degrade_dataset(
                study.clips(name),
                study.degradation(degradation),
                study.lr(degradation, name),
                workers=workers,
            )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, action="append", required=True, metavar="FILE")
    parser.add_argument("--workers", type=int, default=2, help="clips at a time (default: 2)")
    args = parser.parse_args()
    with one_line_errors():
        make_clips(Study.from_file(*args.study), workers=args.workers)


if __name__ == "__main__":
    main()
