from pathlib import Path

from rlsp.columns import ROWS
from rlsp.jobs import job
from rlsp.reporting.results import collect_rows

with job(snakemake.log):
    collect_rows(
        {kind: snakemake.input.get(kind) for kind in ROWS},
        snakemake.params.facts,
        Path(snakemake.output.facts).parent,
        timed=snakemake.params.timed,
    )
