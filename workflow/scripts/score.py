from pathlib import Path

from rlsp.evaluation.scoring import score_dataset
from rlsp.jobs import job

with job(snakemake.log):
    score_dataset(
        Path(snakemake.input.restored),
        Path(snakemake.input.clips),
        Path(snakemake.input.flow),
        Path(snakemake.output[0]),
        labels=snakemake.params.labels,
        crops=snakemake.params.crops,
        workers=snakemake.threads,
        own=snakemake.params.get("metrics"),
    )
