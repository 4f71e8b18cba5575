# Clips: downloaded, packed to memory maps, degraded to LR, and their optical flow.


rule download:
    output:
        PATHS.downloaded("{download}"),
    log:
        PATHS.log("download", "{download}"),
    retries: 1
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        name=lambda wildcards: DOWNLOADS[wildcards.download],
        spec=lambda wildcards: STUDY.download(DOWNLOADS[wildcards.download]).dump(),
    script:
        "../scripts/download.py"


# No retries: the download asks again by itself, and goes on from the part that is there.
rule fetch_archive:
    output:
        archive_mark(str(PATHS.archive("{archive}", "{zip}"))),
    log:
        PATHS.log("fetch_archive", "{archive}", "{zip}"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        name=lambda wildcards: wildcards.archive,
        bytes=lambda wildcards: what_is_fetched(STUDY, wildcards.archive),
    script:
        "../scripts/fetch_archive.py"


# The bytes of an archive are fixed by its SHA-256: one fetched again for another data set changes nothing. Snakemake
# takes an ancient file for that only while it exists, hence this step between a temporary file and the clips.
rule unpack:
    input:
        lambda wildcards: STUDY.archives_of(DATASETS[wildcards.packed]),
    output:
        PATHS.unpacked("{packed}"),
    log:
        PATHS.log("unpack", "{packed}"),
    conda:
        "../../envs/rlsp.yaml"
    threads: 8
    params:
        name=lambda wildcards: DATASETS[wildcards.packed],
        spec=lambda wildcards: STUDY.dataset(DATASETS[wildcards.packed]).dump(),
    script:
        "../scripts/pack.py"


rule pack:
    input:
        made_from,
    output:
        PATHS.clips("{packed}"),
    log:
        PATHS.log("pack", "{packed}"),
    conda:
        "../../envs/rlsp.yaml"
    threads: 2
    params:
        name=lambda wildcards: DATASETS[wildcards.packed],
        spec=lambda wildcards: STUDY.dataset(DATASETS[wildcards.packed]).dump(),
        state=lambda wildcards, input: state_of_folders(input),
    script:
        "../scripts/pack.py"


rule degrade:
    input:
        PATHS.clips("{packed}"),
    output:
        PATHS.lr("{degraded}", "{packed}"),
    log:
        PATHS.log("degrade", "{degraded}", "{packed}"),
    conda:
        "../../envs/rlsp.yaml"
    threads: 2
    params:
        spec=lambda wildcards: STUDY.degradation(
            DEGRADATIONS[wildcards.degraded]
        ).dump(),
        code=lambda wildcards: code_hash(
            "rlsp.data.degradation",
            *STUDY.code_of_degradation(DEGRADATIONS[wildcards.degraded]),
        ),
    script:
        "../scripts/degrade.py"


rule compare_lr:
    input:
        clips=lambda wildcards: STUDY.clips(wildcards.dataset),
        archive=lambda wildcards: ancient(
            STUDY.archive(STUDY.official_lr(wildcards.dataset)["download"])
        ),
    output:
        table=PATHS.official_lr("{dataset}"),
        verdict=PATHS.official_lr("{dataset}").with_suffix(".txt"),
    log:
        PATHS.log("compare_lr", "{dataset}"),
    wildcard_constraints:
        dataset=pattern(STUDY.with_official_lr()),
    conda:
        "../../envs/rlsp.yaml"
    threads: 2
    params:
        name=lambda wildcards: wildcards.dataset,
        spec=lambda wildcards: STUDY.official_lr(wildcards.dataset),
        # nothing less, as the archive may have to be fetched again
        code=code_hash("rlsp.data.degradation"),
    script:
        "../scripts/compare_lr.py"


rule flow:
    input:
        PATHS.clips("{packed}"),
    output:
        PATHS.flow("{packed}"),
    log:
        PATHS.log("flow", "{packed}"),
    conda:
        "../../envs/rlsp.yaml"
    threads: 2
    params:
        code=code_hash("rlsp.data.flow"),
    script:
        "../scripts/flow.py"
