from pathlib import Path

from rlsp.jobs import job
from rlsp.models.complexity import write_counts

with job(snakemake.log):
    write_counts(snakemake.params.specs, Path(snakemake.output[0]))
