from pathlib import Path

from rlsp.jobs import job
from rlsp.reporting.pictures import draw_gallery

with job(snakemake.log):
    draw_gallery(
        snakemake.params.entries,
        Path(snakemake.output[0]),
        clips=snakemake.input.clips,
        lr=snakemake.input.lr,
        restored=snakemake.input.restored,
    )
