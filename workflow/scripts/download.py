from pathlib import Path

from rlsp.data.sources import fetch
from rlsp.jobs import job

with job(snakemake.log):
    fetch(snakemake.params.name, snakemake.params.spec, Path(snakemake.output[0]))
