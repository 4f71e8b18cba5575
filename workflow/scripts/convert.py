from pathlib import Path

from rlsp.jobs import job
from rlsp.released.conversion import convert_checkpoint

with job(snakemake.log):
    convert_checkpoint(
        Path(snakemake.input[0]).parent / snakemake.params.checkpoint["prefix"],
        Path(snakemake.output[0]),
        **snakemake.params.checkpoint["facts"],
    )
