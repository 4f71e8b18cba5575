# Weights: trained here, or converted from the authors' checkpoints.


rule train:
    input:
        hr=lambda wildcards: ancient(STUDY.train_hr(wildcards.run)),
        lr=lambda wildcards: ancient(STUDY.train_lr(wildcards.run)),
        start=lambda wildcards: STUDY.train_start(wildcards.run),
    output:
        weights=RESULTS / "weights/{run}/model.safetensors",
        log=report(
            RESULTS / "weights/{run}/training.csv",
            category="Training",
            labels={"run": "{run}"},
            caption="../report/training.rst",
        ),
        provenance=RESULTS / "weights/{run}/provenance.json",
    log:
        RESULTS / "logs/train/{run}.log",
    wildcard_constraints:
        run=STUDY.pattern(run.id for run in STUDY.runs_of("trained")),
    conda:
        "../../envs/rlsp.yaml"
    threads: lambda wildcards: STUDY.training_threads(wildcards.run)
    resources:
        gpu=STUDY.training_gpus,
    params:
        spec=lambda wildcards: STUDY.training(wildcards.run),
        folder=lambda wildcards: STUDY.training_folder(wildcards.run),
    script:
        "../scripts/train.py"


rule convert:
    input:
        lambda wildcards: STUDY.released_checkpoint(wildcards.run)["manifest"],
    output:
        RESULTS / "weights/{run}/model.safetensors",
    log:
        RESULTS / "logs/convert/{run}.log",
    wildcard_constraints:
        run=STUDY.pattern(run.id for run in STUDY.runs_of("weights")),
    conda:
        "../../envs/rlsp.yaml"
    params:
        checkpoint=lambda wildcards: STUDY.released_checkpoint(wildcards.run),
    script:
        "../scripts/convert.py"
