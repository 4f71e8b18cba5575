# Restored frames of every run, and their scores.


rule restore:
    input:
        weights=lambda wildcards: STUDY.restored_from(wildcards.run),
        lr=lambda wildcards: STUDY.test_lr(wildcards.run, wildcards.dataset),
    output:
        PATHS.restored("{run}", "{dataset}"),
    log:
        PATHS.log("restore", "{run}", "{dataset}"),
    benchmark:
        PATHS.benchmark("restore", "{run}", "{dataset}")
    wildcard_constraints:
        run=ids("trained", "weights", "interpolation"),
    conda:
        "../../envs/rlsp.yaml"
    threads: STUDY.spec.restore.threads
    resources:
        gpu=lambda wildcards: gpus(STUDY, wildcards.run),
        gpu_places=lambda wildcards: gpu_places(STUDY, wildcards.run),
    params:
        degradation=lambda wildcards: STUDY.degradation(
            STUDY.runs[wildcards.run].degradation
        ).dump(),
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
        PATHS.restored("{run}", "{dataset}"),
    log:
        PATHS.log("adopt", "{run}", "{dataset}"),
    wildcard_constraints:
        run=ids("frames"),
    conda:
        "../../envs/rlsp.yaml"
    params:
        state=lambda wildcards, input: state_of_folders([input.frames]),
    script:
        "../scripts/adopt.py"


rule score:
    input:
        restored=PATHS.restored("{run}", "{dataset}"),
        clips=lambda wildcards: STUDY.clips(wildcards.dataset),
        flow=lambda wildcards: STUDY.flow(wildcards.dataset),
    output:
        PATHS.scores("{run}", "{dataset}"),
    log:
        PATHS.log("score", "{run}", "{dataset}"),
    benchmark:
        PATHS.benchmark("score", "{run}", "{dataset}")
    conda:
        "../../envs/rlsp.yaml"
    threads: STUDY.spec.score.workers
    params:
        **OWN_METRICS,
        labels=lambda wildcards: STUDY.labels(wildcards.run, wildcards.dataset),
        crops=list(STUDY.spec.score.crops),
        code=code_hash("rlsp.evaluation.scoring", *STUDY.code_of_metrics()),
    script:
        "../scripts/score.py"


rule compare_precisions:
    input:
        weights=[STUDY.weights(run.id) for run in COMPARED],
        lr=[STUDY.test_lr(run.id, name) for run in COMPARED for name in run.test_sets],
        hr=[STUDY.clips(name) for run in COMPARED for name in run.test_sets],
    output:
        PATHS.measured("precisions"),
    log:
        PATHS.log("compare_precisions"),
    conda:
        "../../envs/rlsp.yaml"
    threads: STUDY.spec.restore.threads
    resources:
        gpu=gpus(STUDY),
        gpu_places=gpu_places(STUDY),
    params:
        runs=[STUDY.compared(run) for run in COMPARED],
        study=STUDY.name,
        precisions=list(STUDY.spec.precisions.compare),
        long_clip=STUDY.spec.precisions.long_clip,
        device=STUDY.spec.device,
        code=code_hash(
            "rlsp.evaluation.precisions", *STUDY.code_of(*(run.id for run in COMPARED))
        ),
    script:
        "../scripts/compare_precisions.py"
