# Tidy tables, summaries, figures and the report. Everything here is cheap and runs near the user.


rule collect:
    input:
        scores=STUDY.all_scores(),
        runtime=[STUDY.runtime()],
        cases=[STUDY.runtime("cases")],
        sweep=[STUDY.runtime("sweep")] if SWEPT else [],
        training=STUDY.training_logs(),
        precisions=PRECISIONS,
        counts=[PATHS.measured("counts")] if STUDY.spec.released.claims else [],
    output:
        rows=[PATHS.rows(kind) for kind in ROWS],
        facts=PATHS.facts,
    log:
        PATHS.log("collect"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        facts=STUDY.facts(),
        timed=list(STUDY.timed_models()),
        code=code_hash("rlsp.reporting.results"),
    script:
        "../scripts/collect.py"


rule tables:
    input:
        rules.collect.output,
        published=PUBLISHED,
    output:
        [
            report(
                PATHS.table(name),
                category="Tables",
                labels={"table": name.replace("_", " ")},
                caption="../report/tables.rst",
            )
            for name in ANALYSES
        ],
        report(
            PATHS.tables / "findings.md",
            category="Findings",
            caption="../report/findings.rst",
        ),
    log:
        PATHS.log("tables"),
    localrule: True
    conda:
        "../../envs/rlsp.yaml"
    params:
        code=code_hash("rlsp.reporting.render", *ANALYSIS_MODULES),
    script:
        "../scripts/tables.py"


rule figures:
    input:
        rules.collect.output,
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
        code=code_hash("rlsp.reporting.render", *ANALYSIS_MODULES),
    script:
        "../scripts/figures.py"


rule pictures:
    input:
        rules.collect.output,
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
            "rlsp.reporting.render",
            "rlsp.training.job",
            *ANALYSIS_MODULES,
            *STUDY.code_of(*(run.id for run in STUDY.runs_of("trained"))),
        ),
    script:
        "../scripts/report.py"
