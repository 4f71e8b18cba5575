from pathlib import Path

from rlsp.jobs import job
from rlsp.sources import fetch

with job(snakemake.log):
    fetch(snakemake.params.name, snakemake.params.spec, Path(snakemake.output[0]))
