from pathlib import Path

from rlsp.jobs import job
from rlsp.reporting.render import render_figures

with job(snakemake.log):
    render_figures(Path(snakemake.input[0]).parents[1], Path(snakemake.output[0]))
