from pathlib import Path

from rlsp.data.packing import pack_dataset
from rlsp.jobs import job

with job(snakemake.log):
    pack_dataset(
        snakemake.params.name,
        snakemake.params.spec,
        Path(snakemake.output[0]),
        source=next(iter(snakemake.input), None),
        workers=snakemake.threads,
    )
