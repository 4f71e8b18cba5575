from pathlib import Path

from rlsp.inference.external import adopt_frames
from rlsp.jobs import job

with job(snakemake.log):
    adopt_frames(
        Path(snakemake.input.clips),
        Path(snakemake.output[0]),
        frames=Path(snakemake.input.frames),
        run=snakemake.wildcards.run,
    )
