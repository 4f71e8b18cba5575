# Run times: all models of the study, interleaved, in one job that has the machine to itself.


rule time:
    output:
        STUDY.runtime(),
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
        code=source_hash("runtime", "models"),
    script:
        "../scripts/time.py"
