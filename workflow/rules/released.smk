# The authors' released weights and frames: the check against their pixels, and the ledger of claims.


localrules:
    claims,
    count,


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
        code=code_hash("rlsp.released.exactness"),
    script:
        "../scripts/exactness.py"


rule count:
    output:
        STUDY.counts(),
    log:
        RESULTS / "logs/count.log",
    conda:
        "../../envs/rlsp.yaml"
    params:
        specs=STUDY.facts()["models"],
        code=code_hash(
            "rlsp.models.complexity",
            *architecture_modules(STUDY.facts()["models"].values()),
        ),
    script:
        "../scripts/count.py"


rule claims:
    input:
        rules.tables.output,
        rules.count.output,
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
        code=code_hash("rlsp.reporting.claims"),
    script:
        "../scripts/claims.py"
