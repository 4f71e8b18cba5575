# Tidy tables, summaries, figures and the report. Everything here is cheap and runs near the user.


localrules:
    collect,
    tables,
    figures,
    pictures,
    report,


rule collect:
    input:
        scores=STUDY.all_scores(),
        runtime=STUDY.runtime(),
        cases=STUDY.runtime_cases(),
        sweeps=STUDY.sweeps(),
        training=STUDY.training_logs(),
    output:
        [
            STUDY.tables() / f"{name}.csv"
            for name in ("scores", "runtime", "runtime_cases", "sweep", "training")
        ],
    log:
        RESULTS / "logs/collect.log",
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
        facts=STUDY.tables() / "study.json",
        accuracy=report(
            STUDY.tables() / "accuracy.csv",
            category="Tables",
            caption="../report/accuracy.rst",
        ),
        temporal=report(
            STUDY.tables() / "temporal.csv",
            category="Tables",
            caption="../report/temporal.rst",
        ),
        runtime=report(
            STUDY.tables() / "runtime_summary.csv",
            category="Tables",
            caption="../report/runtime.rst",
        ),
        speed=report(
            STUDY.tables() / "speed.csv",
            category="Tables",
            caption="../report/speed.rst",
        ),
        costs=report(
            STUDY.tables() / "cost_curves.csv",
            category="Tables",
            caption="../report/cost_curves.rst",
        ),
        complexity=report(
            STUDY.tables() / "complexity.csv",
            category="Tables",
            caption="../report/complexity.rst",
        ),
        ablation=report(
            STUDY.tables() / "ablation.csv",
            category="Tables",
            caption="../report/ablation.rst",
        ),
    log:
        RESULTS / "logs/tables.log",
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
            directory(STUDY.figures() / "numbers"),
            patterns=["{figure}.png"],
            category="Figures",
            caption="../report/figures.rst",
        ),
    log:
        RESULTS / "logs/figures.log",
    conda:
        "../../envs/rlsp.yaml"
    params:
        code=code_hash("rlsp.reporting.figures"),
    script:
        "../scripts/figures.py"


rule pictures:
    input:
        rules.tables.output,
        restored=[
            path for runs in STUDY.all_restored().values() for path in runs.values()
        ],
        clips=[entry["clips"] for entry in STUDY.picture_inputs()],
        lr=[entry["lr"] for entry in STUDY.picture_inputs()],
    output:
        report(
            directory(STUDY.figures() / "pictures"),
            patterns=["{figure}.png"],
            category="Figures",
            caption="../report/pictures.rst",
        ),
    log:
        RESULTS / "logs/pictures.log",
    conda:
        "../../envs/rlsp.yaml"
    params:
        entries=STUDY.picture_inputs(),
        code=code_hash("rlsp.reporting.pictures"),
    script:
        "../scripts/pictures.py"


rule report:
    input:
        notebook=ROOT / "notebooks/report.ipynb",
        tables=rules.tables.output,
        claims=STUDY.claims(),
        precisions=STUDY.precisions(),
        figures=rules.figures.output,
        pictures=rules.pictures.output,
        provenance=[path.with_name("provenance.json") for path in STUDY.training_logs()],
    output:
        report(
            RESULTS / "report.html", category="Report", caption="../report/report.rst"
        ),
    log:
        RESULTS / "logs/report.log",
    conda:
        "../../envs/rlsp.yaml"
    params:
        study=STUDY.name,
        results=RESULTS,
        code=code_hash(
            "rlsp.reporting.report",
            "rlsp.reporting.blocks",
            "rlsp.reporting.wide",
            "rlsp.training.job",
            *STUDY.code_of(*(run.id for run in STUDY.runs_of("trained"))),
        ),
    script:
        "../scripts/report.py"
