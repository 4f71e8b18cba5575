# Weights: trained here, or converted from the authors' checkpoints.


rule train:
    input:
        hr=lambda wildcards: ancient(STUDY.train_hr(wildcards.run)),
        lr=lambda wildcards: ancient(STUDY.train_lr(wildcards.run)),
        start=lambda wildcards: STUDY.train_start(wildcards.run),
    output:
        weights=PATHS.weights("{run}"),
        log=report(
            PATHS.training_log("{run}"),
            category="Training",
            labels={"run": "{run}"},
            caption="../report/training.rst",
        ),
        provenance=PATHS.provenance("{run}"),
    log:
        PATHS.log("train", "{run}"),
    benchmark:
        PATHS.benchmark("train", "{run}")
    wildcard_constraints:
        run=ids("trained"),
    conda:
        "../../envs/rlsp.yaml"
    threads: lambda wildcards: training_threads(STUDY, wildcards.run)
    resources:
        gpu=training_gpus(STUDY),
        gpu_places=lambda wildcards: training_places(STUDY, wildcards.run),
    params:
        spec=lambda wildcards: STUDY.training(wildcards.run).dump(),
        folder=lambda wildcards: STUDY.training_folder(wildcards.run).name,
    script:
        "../scripts/train.py"


rule convert:
    input:
        lambda wildcards: STUDY.downloaded(
            STUDY.released_download(STUDY.runs[wildcards.run])
        ),
    output:
        PATHS.weights("{run}"),
    log:
        PATHS.log("convert", "{run}"),
    wildcard_constraints:
        run=ids("weights"),
    conda:
        "../../envs/rlsp.yaml"
    params:
        checkpoint=lambda wildcards: STUDY.released_checkpoint(wildcards.run),
    script:
        "../scripts/convert.py"
