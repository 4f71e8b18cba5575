from pathlib import Path

from rlsp.jobs import job
from rlsp.training import train

with job(snakemake.log):
    train(
        snakemake.params.spec,
        hr_manifest=Path(snakemake.input.hr),
        lr_manifest=Path(snakemake.input.lr),
        weights_path=Path(snakemake.output.weights),
        folder=Path(snakemake.params.folder),
        device=snakemake.params.device,
        walltime=snakemake.resources.get("runtime"),
    )
