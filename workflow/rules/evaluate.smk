# Restored frames of every run, and their scores.


rule restore:
    input:
        weights=lambda wildcards: STUDY.restored_from(wildcards.run),
        lr=lambda wildcards: STUDY.test_lr(wildcards.run, wildcards.dataset),
    output:
        RESULTS / "restored/{run}/{dataset}/manifest.json",
    log:
        RESULTS / "logs/restore/{run}/{dataset}.log",
    wildcard_constraints:
        run=STUDY.pattern(
            run.id for run in STUDY.runs_of("trained", "weights", "interpolation")
        ),
    conda:
        "../../envs/rlsp.yaml"
    threads: STUDY.config["restore"]["threads"]
    resources:
        gpu=lambda wildcards: STUDY.restoring_gpus(wildcards.run),
    params:
        degradation=lambda wildcards: STUDY.degradation(
            STUDY.runs[wildcards.run].degradation
        ),
        precision=lambda wildcards: STUDY.restoring_precision(wildcards.run),
        device=lambda wildcards: STUDY.restoring_device(wildcards.run),
        arch=lambda wildcards: STUDY.own_arch(wildcards.run),
        code=lambda wildcards: code_hash(
            "rlsp.inference.restoration", *STUDY.code_of(wildcards.run)
        ),
    script:
        "../scripts/restore.py"


rule adopt:
    input:
        clips=lambda wildcards: STUDY.clips(wildcards.dataset),
        frames=lambda wildcards: STUDY.frames_of(wildcards.run),
    output:
        RESULTS / "restored/{run}/{dataset}/manifest.json",
    log:
        RESULTS / "logs/adopt/{run}/{dataset}.log",
    wildcard_constraints:
        run=STUDY.pattern(run.id for run in STUDY.runs_of("frames")),
    conda:
        "../../envs/rlsp.yaml"
    params:
        state=lambda wildcards: STUDY.state_of_folders([STUDY.frames_of(wildcards.run)]),
    script:
        "../scripts/adopt.py"


rule score:
    input:
        restored=RESULTS / "restored/{run}/{dataset}/manifest.json",
        clips=lambda wildcards: STUDY.clips(wildcards.dataset),
        flow=lambda wildcards: STUDY.flow(wildcards.dataset),
    output:
        RESULTS / "scores/{run}/{dataset}.csv",
    log:
        RESULTS / "logs/score/{run}/{dataset}.log",
    conda:
        "../../envs/rlsp.yaml"
    threads: STUDY.config["score"]["workers"]
    params:
        labels=lambda wildcards: STUDY.labels(wildcards.run, wildcards.dataset),
        crops=STUDY.config["score"]["crops"],
        code=code_hash("rlsp.evaluation.scoring"),
    script:
        "../scripts/score.py"


rule compare_precisions:
    input:
        STUDY.precision_inputs(),
    output:
        report(
            STUDY.tables() / "precisions.csv",
            category="Tables",
            caption="../report/precisions.rst",
        ),
    log:
        RESULTS / "logs/compare_precisions.log",
    conda:
        "../../envs/rlsp.yaml"
    threads: STUDY.config["restore"]["threads"]
    resources:
        gpu=STUDY.gpus,
    params:
        runs=STUDY.compared_precisions(),
        study=STUDY.name,
        precisions=STUDY.config["precisions"]["compare"],
        long_clip=STUDY.config["precisions"]["long_clip"],
        device=STUDY.config["device"],
        code=code_hash(
            "rlsp.evaluation.precisions", *STUDY.code_of(*STUDY.compared_precisions())
        ),
    script:
        "../scripts/compare_precisions.py"
