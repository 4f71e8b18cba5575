from pathlib import Path

from rlsp.files import write_json
from rlsp.jobs import job
from rlsp.timing.tables import time_models

with job(snakemake.log):
    time_models(
        snakemake.params.specs,
        Path(snakemake.output.samples),
        Path(snakemake.output.cases),
        study=snakemake.params.study,
        timing=snakemake.params.timing,
        device=snakemake.params.device,
    )
    record = {
        "specs": snakemake.params.specs,
        "timing": snakemake.params.timing,
        "code": snakemake.params.code,
        "device": snakemake.params.device,
    }
    write_json(Path(snakemake.output.record), record)
