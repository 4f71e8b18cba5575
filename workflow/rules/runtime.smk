# Run times: everything that is timed in one job has the machine to itself.


rule time:
    output:
        samples=STUDY.runtime(),
        cases=STUDY.runtime_cases(),
    log:
        RESULTS / "logs/time.log",
    conda:
        "../../envs/rlsp.yaml"
    # All cores keep other jobs away; under a cluster executor the profile asks for a whole node.
    threads: workflow.resource_settings.cores or STUDY.config["runtime"]["threads"]
    resources:
        gpu=STUDY.gpus,
    params:
        specs=STUDY.timed_models(),
        study=STUDY.name,
        timing=STUDY.config["runtime"],
        device=STUDY.config["device"],
        code=code_hash(
            "rlsp.timing.tables", *architecture_modules(STUDY.timed_models().values())
        ),
    script:
        "../scripts/time.py"


rule sweep:
    output:
        STUDY.runtime().with_name(f"{STUDY.config['device']}-sweep.csv"),
    log:
        RESULTS / "logs/sweep.log",
    conda:
        "../../envs/rlsp.yaml"
    threads: workflow.resource_settings.cores or STUDY.config["runtime"]["threads"]
    resources:
        gpu=STUDY.gpus,
    params:
        model=STUDY.config["runtime"]["sweep"],
        spec=STUDY.swept_model(),
        study=STUDY.name,
        timing=STUDY.config["runtime"],
        device=STUDY.config["device"],
        code=code_hash(
            "rlsp.timing.sweep",
            *architecture_modules(filter(None, [STUDY.swept_model()])),
        ),
    script:
        "../scripts/sweep.py"
