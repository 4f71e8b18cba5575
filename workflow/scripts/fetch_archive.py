from pathlib import Path

from rlsp.data.sources import fetch
from rlsp.jobs import job

with job(snakemake.log):
    fetch(
        snakemake.params.name,
        # not a param: another mirror is no reason to throw 34 GB away
        snakemake.config["downloads"][snakemake.params.name],
        Path(snakemake.output[0]).with_name("manifest.json"),
        snakemake.params.bytes.get("folders", ()),
    )
