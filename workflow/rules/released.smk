# The authors' released weights and frames: the check against their pixels, and the ledger of claims.


localrules:
    claims,


rule exactness:
    input:
        restored=lambda wildcards: STUDY.exactness_pair(wildcards.pair)[0],
        released=lambda wildcards: STUDY.exactness_pair(wildcards.pair)[1],
    output:
        RESULTS / "exactness/{pair}.csv",
    log:
        RESULTS / "logs/exactness/{pair}.log",
    wildcard_constraints:
        pair=STUDY.pattern(STUDY.exactness_pairs()),
    conda:
        "../../envs/rlsp.yaml"
    params:
        full_frames=STUDY.full_frames(),
        code=code_hash("released.exactness"),
    script:
        "../scripts/exactness.py"


rule claims:
    input:
        rules.tables.output,
        published=PUBLISHED,
    output:
        report(
            STUDY.tables() / "claims.csv",
            category="Tables",
            caption="../report/claims.rst",
        ),
    log:
        RESULTS / "logs/claims.log",
    conda:
        "../../envs/rlsp.yaml"
    params:
        study=STUDY.facts(),
        code=code_hash("reporting.claims"),
    script:
        "../scripts/claims.py"
