# Tidy tables, summaries, figures and the report. Everything here is cheap and runs near the user.


rule collect:
    input:
        scores=STUDY.all_scores(),
        runtime=STUDY.runtime(),
        cases=STUDY.runtime("cases"),
        sweeps=[STUDY.runtime("sweep")] if SWEPT else [],
        training=STUDY.training_logs(),
    output:
        [
            PATHS.table(name)
            for name in ("scores", "runtime", "runtime_cases", "sweep", "training")
        ],
    log:
        PATHS.log("collect"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        code=code_hash("rlsp.reporting.tables"),
    script:
        "../scripts/collect.py"


rule tables:
    input:
        rules.collect.output,
        published=PUBLISHED,
    output:
        facts=PATHS.tables / "study.json",
        accuracy=report(
            PATHS.table("accuracy"),
            category="Tables",
            caption="../report/accuracy.rst",
        ),
        temporal=report(
            PATHS.table("temporal"),
            category="Tables",
            caption="../report/temporal.rst",
        ),
        runtime=report(
            PATHS.table("runtime_summary"),
            category="Tables",
            caption="../report/runtime.rst",
        ),
        speed=report(
            PATHS.table("speed"),
            category="Tables",
            caption="../report/speed.rst",
        ),
        costs=report(
            PATHS.table("cost_curves"),
            category="Tables",
            caption="../report/cost_curves.rst",
        ),
        complexity=report(
            PATHS.table("complexity"),
            category="Tables",
            caption="../report/complexity.rst",
        ),
        ablation=report(
            PATHS.table("ablation"),
            category="Tables",
            caption="../report/ablation.rst",
        ),
    log:
        PATHS.log("tables"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        study=STUDY.facts(),
        code=code_hash("rlsp.reporting.tables"),
    script:
        "../scripts/tables.py"


rule figures:
    input:
        rules.tables.output,
        published=PUBLISHED,
    output:
        report(
            directory(PATHS.figures("numbers")),
            patterns=["{figure}.png"],
            category="Figures",
            caption="../report/figures.rst",
        ),
    log:
        PATHS.log("figures"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        code=code_hash("rlsp.reporting.figures"),
    script:
        "../scripts/figures.py"


rule pictures:
    input:
        rules.tables.output,
        clips=[STUDY.clips(entry["dataset"]) for entry in GALLERY],
        lr=[STUDY.lr(entry["degradation"], entry["dataset"]) for entry in GALLERY],
        restored=[
            PATHS.restored(run, entry["dataset"])
            for entry in GALLERY
            for run in entry["runs"].values()
        ],
    output:
        report(
            directory(PATHS.figures("pictures")),
            patterns=["{figure}.png"],
            category="Figures",
            caption="../report/pictures.rst",
        ),
    log:
        PATHS.log("pictures"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        entries=GALLERY,
        code=code_hash("rlsp.reporting.pictures"),
    script:
        "../scripts/pictures.py"


rule report:
    input:
        notebook=ROOT / "notebooks/report.ipynb",
        tables=rules.tables.output,
        claims=[PATHS.table("claims")] if STUDY.spec.released.claims else [],
        precisions=PRECISIONS,
        figures=rules.figures.output,
        pictures=rules.pictures.output,
        provenance=[path.with_name("provenance.json") for path in STUDY.training_logs()],
    output:
        report(PATHS.report, category="Report", caption="../report/report.rst"),
    log:
        PATHS.log("report"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        study=STUDY.name,
        code=code_hash(
            "rlsp.reporting.report",
            "rlsp.reporting.blocks",
            "rlsp.reporting.wide",
            "rlsp.training.job",
            *STUDY.code_of(*(run.id for run in STUDY.runs_of("trained"))),
        ),
    script:
        "../scripts/report.py"
