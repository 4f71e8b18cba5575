from pathlib import Path

from rlsp.jobs import job
from rlsp.training import TrainingJob, train

with job(snakemake.log):
    train(
        TrainingJob(
            snakemake.params.spec,
            hr_manifests=[Path(path) for path in snakemake.input.hr],
            lr_manifests=[Path(path) for path in snakemake.input.lr],
            weights_path=Path(snakemake.output.weights),
            folder=Path(snakemake.params.folder),
            start=[Path(path) for path in snakemake.input.start],
            device=snakemake.config["device"],
            walltime=snakemake.resources.get("runtime"),
            stage_to=snakemake.config["stage_to"],
            **snakemake.config["training"],
        )
    )
