from pathlib import Path

from rlsp.inference.restoration import restore_run
from rlsp.jobs import job

with job(snakemake.log):
    restore_run(
        [Path(path) for path in snakemake.input.weights],
        Path(snakemake.input.lr),
        Path(snakemake.output[0]),
        run=snakemake.wildcards.run,
        degradation=snakemake.params.degradation,
        threads=snakemake.threads,
        precision=snakemake.params.precision,
        device=snakemake.params.device,
        trusted_arch=snakemake.params.arch,
    )
