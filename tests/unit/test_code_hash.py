"""Which change of the code makes which results again: on a copy of the package that is changed."""

import json
import re
import shutil

import pytest

from rlsp import provenance
from rlsp.provenance import code_hash, imported_modules
from rlsp.reporting.analyses import ANALYSIS_MODULES
from rlsp.shipped import ROOT

# What the rules of the workflow hash.
RULES = {
    "degrade": ["rlsp.data.degradation"],
    "flow": ["rlsp.data.flow"],
    "train rlsp": ["rlsp.training.job", "rlsp.models.rlsp"],
    "train duf": ["rlsp.training.job", "rlsp.models.duf"],
    "restore rlsp": ["rlsp.inference.restoration", "rlsp.models.rlsp"],
    "restore bicubic": ["rlsp.inference.restoration", "rlsp.models.bicubic"],
    "score": ["rlsp.evaluation.scoring"],
    "time rlsp": ["rlsp.timing.tables", "rlsp.models.rlsp"],
    "tables": ["rlsp.reporting.render", *ANALYSIS_MODULES],
}


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Say which rules are run again when a text in a file of the package is replaced, or put at its end."""
    shutil.copytree(provenance.PACKAGE, tmp_path / "rlsp", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "rlsp")

    read, old = provenance._read_code, {rule: code_hash(*roots) for rule, roots in RULES.items()}

    def change(file, before, after):
        path = tmp_path / "rlsp" / file
        text = path.read_text()
        assert before is None or text.count(before) == 1
        path.write_text(text + after if before is None else text.replace(before, after))
        module = f"rlsp.{file.removesuffix('.py').replace('/', '.')}"
        # all others are as they were
        monkeypatch.setattr(
            provenance, "_read_code", lambda name: (read.__wrapped__ if name == module else read)(name)
        )
        return {rule for rule, roots in RULES.items() if code_hash(*roots) != old[rule]}

    return change


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("models/rlsp.py", "The RLSP cell, with a switch for each of its ingredients.", "Another docstring."),
        ("models/rlsp.py", None, "\n\n# a comment   \n\n"),
        ("data/download.py", None, "\nNEW = 1\n"),
        ("config/study.py", None, "\n\ndef new_key() -> int:\n    return 1\n"),
        ("errors.py", None, "\nNEW = 1\n"),
        ("cli.py", None, "\nNEW = 1\n"),
        ("columns.py", None, "\nNEW = 1\n"),
    ],
)
def test_nothing_is_made_again(changed, file, before, after):
    assert changed(file, before, after) == set()


ALL_OF_RLSP = {"train rlsp", "restore rlsp", "time rlsp"}


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("models/duf.py", {"train duf"}),
        ("inference/restorer.py", {*ALL_OF_RLSP, "train duf", "restore bicubic"}),  # trainings validate
        ("evaluation/scoring.py", {"score"}),
        ("reporting/by_clip.py", {"tables"}),
        ("reporting/analyses/temporal.py", {"tables"}),
        ("timing/turns.py", {"time rlsp"}),
        ("training/job.py", {"train rlsp", "train duf"}),
    ],
)
def test_a_change_makes_again_what_imports_it(changed, file, rules):
    assert changed(file, None, "\nNEW = 1\n") == rules


def test_the_switch_of_tf32_changes_timings(changed):
    before = "convolution.allow_tf32 = product.allow_tf32 = precision"
    assert changed("devices.py", before, before.replace(" = ", "  =  ")) == set()  # layout only
    assert "time rlsp" in changed("devices.py", 'precision == "tf32"', 'precision != "fp32"')


def test_a_class_of_the_users_own_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_models.py").write_text("LAYERS = 3\n")
    before = code_hash("rlsp.training.job", "my_models")
    provenance._read_code.cache_clear()
    (tmp_path / "my_models.py").write_text("LAYERS = 4\n")
    assert code_hash("rlsp.training.job", "my_models") != before
    provenance._read_code.cache_clear()
    assert len(code_hash("no.such.module")) == 12


@pytest.mark.parametrize("name", ["files", "config.nets", "models.rlsp"])
def test_a_class_of_the_users_own_may_have_the_name_of_a_module_of_ours(tmp_path, monkeypatch, name):
    monkeypatch.syspath_prepend(tmp_path)
    path = (tmp_path / name.replace(".", "/")).with_suffix(".py")
    path.parent.mkdir(exist_ok=True)
    path.write_text("LAYERS = 3\n")
    provenance._read_code.cache_clear()
    before = code_hash("rlsp.inference.restoration", name)
    provenance._read_code.cache_clear()
    path.write_text("LAYERS = 4\n")
    assert code_hash("rlsp.inference.restoration", name) != before
    provenance._read_code.cache_clear()


def test_the_report_counts_what_its_notebook_imports():
    notebook = json.loads((ROOT / "notebooks" / "report.ipynb").read_text())
    code = "".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    imports = set(re.findall(r"^from (rlsp\.[\w.]+) import", code, re.MULTILINE))
    rule = (ROOT / "workflow" / "rules" / "report.smk").read_text().partition("rule report:")[2]
    counted = imported_modules(*re.findall(r'"(rlsp\.[\w.]+)"', rule))
    left_out = {name for name in imports if name not in counted}
    assert imports and all(name.startswith(provenance.NO_PART) for name in left_out)


def test_the_rules_of_the_workflow_name_modules_that_there_are():
    files = [*sorted((ROOT / "workflow" / "rules").glob("*.smk")), ROOT / "rlsp" / "planning" / "timed.py"]
    text = "".join(path.read_text() for path in files)
    calls = re.findall(r"code_hash\(([^*)]*)", text)
    named = {name for call in calls for name in re.findall(r'"([\w.]+)"', call)}
    assert len(calls) >= 14 and {roots[0] for roots in RULES.values()} <= named
    assert all(name in imported_modules(name) and provenance._own_file(name) for name in named)


def test_lr_clips_are_not_made_again_for_nothing():
    """Code of the same arithmetic gets the hash of before; where the arithmetic changes, the entry goes."""
    assert provenance.code_hash("rlsp.data.degradation") in provenance.KEPT.values()
