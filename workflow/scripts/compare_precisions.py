from pathlib import Path

from rlsp.evaluation.precisions import compare_precisions
from rlsp.jobs import job

with job(snakemake.log):
    compare_precisions(
        snakemake.params.runs,
        Path(snakemake.output[0]),
        weights=[Path(path) for path in snakemake.input.weights],
        lr=[Path(path) for path in snakemake.input.lr],
        hr=[Path(path) for path in snakemake.input.hr],
        study=snakemake.params.study,
        precisions=snakemake.params.precisions,
        long_clip=snakemake.params.long_clip,
        threads=snakemake.threads,
        device=snakemake.params.device,
    )
