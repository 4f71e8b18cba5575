# Clips: downloaded, packed to memory maps, degraded to LR, and their optical flow.


localrules:
    download,
    fetch_archive,


rule download:
    output:
        DATA / "downloads/{download}/manifest.json",
    log:
        RESULTS / "logs/download/{download}.log",
    retries: 1
    conda:
        "../../envs/rlsp.yaml"
    params:
        name=lambda wildcards: STUDY.downloads[wildcards.download],
        spec=lambda wildcards: STUDY.download(STUDY.downloads[wildcards.download]),
    script:
        "../scripts/download.py"


# No retries: the download asks again by itself, and goes on from the part that is there.
rule fetch_archive:
    output:
        STUDY.archive_mark(temp)(f"{DATA}/downloads/{{archive}}/{{zip}}"),
    log:
        RESULTS / "logs/fetch_archive/{archive}/{zip}.log",
    conda:
        "../../envs/rlsp.yaml"
    params:
        name=lambda wildcards: wildcards.archive,
        bytes=lambda wildcards: STUDY.archive_bytes(wildcards.archive),
    script:
        "../scripts/fetch_archive.py"


# The bytes of an archive are fixed by its SHA-256: one fetched again for another data set changes nothing. Snakemake
# takes an ancient file for that only while it exists, hence this step between a temporary file and the clips.
rule unpack:
    input:
        lambda wildcards: STUDY.archives_of(STUDY.packed[wildcards.packed]),
    output:
        DATA / "clips/{packed}/unpacked.json",
    log:
        RESULTS / "logs/unpack/{packed}.log",
    conda:
        "../../envs/rlsp.yaml"
    threads: 8
    params:
        name=lambda wildcards: STUDY.packed[wildcards.packed],
        spec=lambda wildcards: STUDY.dataset(STUDY.packed[wildcards.packed]),
        downloads=lambda wildcards: STUDY.downloads_of(STUDY.packed[wildcards.packed]),
    script:
        "../scripts/pack.py"


rule pack:
    input:
        lambda wildcards: STUDY.files_of(STUDY.packed[wildcards.packed]),
        unpacked=lambda wildcards: ancient(
            STUDY.packing_steps(STUDY.packed[wildcards.packed])[:-1]
        ),
    output:
        DATA / "clips/{packed}/manifest.json",
    log:
        RESULTS / "logs/pack/{packed}.log",
    conda:
        "../../envs/rlsp.yaml"
    threads: 2
    params:
        name=lambda wildcards: STUDY.packed[wildcards.packed],
        spec=lambda wildcards: STUDY.dataset(STUDY.packed[wildcards.packed]),
        downloads=lambda wildcards: STUDY.downloads_of(STUDY.packed[wildcards.packed]),
        state=lambda wildcards: STUDY.state_of_folders(
            STUDY.files_of(STUDY.packed[wildcards.packed])
        ),
    script:
        "../scripts/pack.py"


rule degrade:
    input:
        DATA / "clips/{packed}/manifest.json",
    output:
        DATA / "lr/{degraded}/{packed}/manifest.json",
    log:
        RESULTS / "logs/degrade/{degraded}/{packed}.log",
    conda:
        "../../envs/rlsp.yaml"
    threads: 2
    params:
        spec=lambda wildcards: STUDY.degradation(STUDY.degraded[wildcards.degraded]),
        code=code_hash("rlsp.data.degradation"),
    script:
        "../scripts/degrade.py"


rule compare_lr:
    input:
        clips=lambda wildcards: STUDY.clips(wildcards.dataset),
        archive=lambda wildcards: ancient(
            STUDY.archive(STUDY.official_lr(wildcards.dataset)["download"])
        ),
    output:
        table=RESULTS / "official_lr/{dataset}.csv",
        verdict=RESULTS / "official_lr/{dataset}.txt",
    log:
        RESULTS / "logs/compare_lr/{dataset}.log",
    wildcard_constraints:
        dataset=STUDY.pattern(STUDY.with_official_lr()),
    conda:
        "../../envs/rlsp.yaml"
    threads: 2
    params:
        name=lambda wildcards: wildcards.dataset,
        spec=lambda wildcards: STUDY.official_lr(wildcards.dataset),
        download=lambda wildcards: STUDY.downloaded(
            STUDY.official_lr(wildcards.dataset)["download"]
        ),
        # nothing less, as the archive may have to be fetched again
        code=code_hash("rlsp.data.degradation"),
    script:
        "../scripts/compare_lr.py"


rule flow:
    input:
        DATA / "clips/{packed}/manifest.json",
    output:
        DATA / "flow/{packed}/manifest.json",
    log:
        RESULTS / "logs/flow/{packed}.log",
    conda:
        "../../envs/rlsp.yaml"
    threads: 2
    params:
        code=code_hash("rlsp.data.flow"),
    script:
        "../scripts/flow.py"
