# The authors' released weights and frames: the check against their pixels, and what their models count.


rule exactness:
    input:
        exactness_pair,
    output:
        PATHS.exactness("{pair}"),
    log:
        PATHS.log("exactness", "{pair}"),
    conda:
        "../../envs/rlsp.yaml"
    params:
        full_frames=STUDY.full_frames(),
        code=code_hash("rlsp.released.exactness"),
    script:
        "../scripts/exactness.py"


rule count:
    output:
        PATHS.measured("counts"),
    log:
        PATHS.log("count"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        specs=STUDY.facts()["models"],
        code=code_hash(
            "rlsp.models.complexity",
            *architecture_modules(
                STUDY.model(name) for name in STUDY.facts()["models"]
            ),
        ),
    script:
        "../scripts/count.py"
