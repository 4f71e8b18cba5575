from pathlib import Path

from rlsp.jobs import job
from rlsp.metrics.flow import write_flow_dataset

with job(snakemake.log):
    write_flow_dataset(Path(snakemake.input[0]), Path(snakemake.output[0]), workers=snakemake.threads)
