# The benchmark: `snakemake --cores all` makes the demo study, `--configfile config/<study>.yaml` another one.
from snakemake.utils import min_version

min_version("9.3")


include: "workflow/Snakefile"


rule study:
    default_target: True
    input:
        rules.all.input,
