from pathlib import Path

from rlsp.jobs import job
from rlsp.released.exactness import check_exactness

with job(snakemake.log):
    check_exactness(
        Path(snakemake.input[0]),
        Path(snakemake.input[1]),
        Path(snakemake.output[0]),
        full_frames=snakemake.params.full_frames,
    )
