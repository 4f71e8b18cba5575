from pathlib import Path

from rlsp.jobs import job
from rlsp.reporting.claims import write_claims

with job(snakemake.log):
    write_claims(Path(snakemake.output[0]).parent, snakemake.params.study)
