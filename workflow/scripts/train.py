from pathlib import Path

from rlsp.config.specs.runs import Training
from rlsp.jobs import job
from rlsp.training import TrainingJob, train
from rlsp.training.taking import equal_folders

with job(snakemake.log):
    train(
        TrainingJob(
            Training.parse(snakemake.params.spec),
            hr_manifests=[Path(path) for path in snakemake.input.hr],
            lr_manifests=[Path(path) for path in snakemake.input.lr],
            weights_path=Path(snakemake.output.weights),
            folder=Path(snakemake.output.weights).parents[2] / "training" / snakemake.params.folder,
            equal=equal_folders(Path(snakemake.output.weights), snakemake.config["extends"]),
            start=[Path(path) for path in snakemake.input.start],
            device=snakemake.config["device"],
            walltime=snakemake.resources.get("runtime"),
            stage_to=snakemake.config["stage_to"],
            **snakemake.config["training"],
        )
    )
