# Clips: downloaded, packed to memory maps, degraded to LR, and their optical flow.


localrules:
    download,


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


rule pack:
    input:
        lambda wildcards: STUDY.files_of(STUDY.packed[wildcards.packed]),
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
        code=source_hash("degradation"),
    script:
        "../scripts/degrade.py"


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
        code=source_hash("metrics.flow", "color"),
    script:
        "../scripts/flow.py"
