from pathlib import Path

from rlsp.jobs import job
from rlsp.reporting.figures import redraw_figures
from rlsp.reporting.published import published_points

with job(snakemake.log):
    redraw_figures(Path(snakemake.input[0]).parent, Path(snakemake.output[0]), published=published_points())
