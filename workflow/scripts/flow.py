from pathlib import Path

from rlsp.data.flow import write_flow_dataset
from rlsp.jobs import job

with job(snakemake.log):
    write_flow_dataset(Path(snakemake.input[0]), Path(snakemake.output[0]), workers=snakemake.threads)
