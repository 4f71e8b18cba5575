from pathlib import Path

from rlsp.jobs import job
from rlsp.reporting.render import render_tables

with job(snakemake.log):
    render_tables(Path(snakemake.output[0]).parents[1])
