# Run times: everything that is timed in one job has the machine to itself.


rule time:
    output:
        samples=STUDY.runtime(),
        cases=STUDY.runtime("cases"),
        record=STUDY.runtime_record(),
    log:
        PATHS.log("time"),
    conda:
        "../../envs/rlsp.yaml"
    # All cores keep other jobs away; under a cluster executor the profile asks for a whole node.
    threads: workflow.resource_settings.cores or STUDY.spec.runtime.threads
    resources:
        gpu=gpus(STUDY),
        gpu_places=gpu_places(STUDY),
    params:
        **TIMED,
        study=STUDY.name,
    script:
        "../scripts/time.py"


rule sweep:
    output:
        STUDY.runtime("sweep"),
    log:
        PATHS.log("sweep"),
    conda:
        "../../envs/rlsp.yaml"
    threads: workflow.resource_settings.cores or STUDY.spec.runtime.threads
    resources:
        gpu=gpus(STUDY),
        gpu_places=gpu_places(STUDY),
    params:
        model=STUDY.spec.runtime.sweep,
        spec=plain(SWEPT).get(STUDY.spec.runtime.sweep),
        study=STUDY.name,
        timing=STUDY.spec.runtime.dump(),
        device=STUDY.spec.device,
        code=code_hash(
            "rlsp.timing.sweep",
            *architecture_modules(SWEPT.values()),
        ),
    script:
        "../scripts/sweep.py"
