from pathlib import Path

from rlsp.data.packing import pack_dataset
from rlsp.jobs import job

with job(snakemake.log):
    pack_dataset(
        snakemake.params.name,
        snakemake.params.spec,
        Path(snakemake.output[0]),
        downloads=snakemake.params.downloads,
        scale=snakemake.params.spec["scale"],
        workers=snakemake.threads,
    )
