# Restored frames of every run, and their scores.


rule restore:
    input:
        weights=lambda wildcards: STUDY.weights(wildcards.run),
        lr=lambda wildcards: STUDY.test_lr(wildcards.run, wildcards.dataset),
    output:
        RESULTS / "restored/{run}/{dataset}/manifest.json",
    params:
        degradation=lambda wildcards: STUDY.degradation(STUDY.runs[wildcards.run].degradation),
        device=STUDY.config["device"],
    wildcard_constraints:
        run=STUDY.pattern(run.id for run in STUDY.runs_of("trained", "weights")),
    log:
        RESULTS / "logs/restore/{run}/{dataset}.log",
    threads: STUDY.config["restore"]["threads"]
    resources:
        gpu=STUDY.gpus,
    conda:
        "../../envs/rlsp.yaml"
    script:
        "../scripts/restore.py"


rule interpolate:
    input:
        lr=lambda wildcards: STUDY.test_lr(wildcards.run, wildcards.dataset),
    output:
        RESULTS / "restored/{run}/{dataset}/manifest.json",
    params:
        degradation=lambda wildcards: STUDY.degradation(STUDY.runs[wildcards.run].degradation),
    wildcard_constraints:
        run=STUDY.pattern(run.id for run in STUDY.runs_of("interpolation")),
    log:
        RESULTS / "logs/interpolate/{run}/{dataset}.log",
    threads: STUDY.config["restore"]["threads"]
    conda:
        "../../envs/rlsp.yaml"
    script:
        "../scripts/interpolate.py"


rule adopt:
    input:
        clips=lambda wildcards: STUDY.clips(wildcards.dataset),
        frames=lambda wildcards: STUDY.frames_of(wildcards.run),
    output:
        RESULTS / "restored/{run}/{dataset}/manifest.json",
    wildcard_constraints:
        run=STUDY.pattern(run.id for run in STUDY.runs_of("frames")),
    log:
        RESULTS / "logs/adopt/{run}/{dataset}.log",
    conda:
        "../../envs/rlsp.yaml"
    script:
        "../scripts/adopt.py"


rule score:
    input:
        restored=RESULTS / "restored/{run}/{dataset}/manifest.json",
        clips=lambda wildcards: STUDY.clips(wildcards.dataset),
        flow=lambda wildcards: STUDY.flow(wildcards.dataset),
    output:
        RESULTS / "scores/{run}/{dataset}.csv",
    params:
        labels=lambda wildcards: STUDY.labels(wildcards.run, wildcards.dataset),
        crops=STUDY.config["score"]["crops"],
        code=source_hash("scoring", "metrics", "color"),
    log:
        RESULTS / "logs/score/{run}/{dataset}.log",
    threads: STUDY.config["score"]["workers"]
    conda:
        "../../envs/rlsp.yaml"
    script:
        "../scripts/score.py"
