from pathlib import Path

from rlsp.inference.restoration import restore_by_interpolation
from rlsp.jobs import job

with job(snakemake.log):
    restore_by_interpolation(
        Path(snakemake.input.lr),
        Path(snakemake.output[0]),
        run=snakemake.wildcards.run,
        degradation=snakemake.params.degradation,
        threads=snakemake.threads,
    )
