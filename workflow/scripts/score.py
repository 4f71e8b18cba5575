from pathlib import Path

from rlsp.jobs import job
from rlsp.scoring import score_dataset

with job(snakemake.log):
    score_dataset(
        Path(snakemake.input.restored),
        Path(snakemake.input.clips),
        Path(snakemake.input.flow),
        Path(snakemake.output[0]),
        labels=snakemake.params.labels,
        crops=snakemake.params.crops,
        workers=snakemake.threads,
    )
