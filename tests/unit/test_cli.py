import ast
import importlib
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest

import rlsp
from rlsp import provenance
from rlsp.cli import build_parser, main
from rlsp.config.keys import list_keys
from rlsp.config.schema import ROOT
from rlsp.errors import ConfigError
from rlsp.provenance import check_torch

# Rules whose twin has another name: the command does what both rules do.
TWINS = {
    "download": "fetch",
    "collect": "tables",
    "fetch_archive": "fetch",
    "unpack": "pack",
    "compare_lr": "compare-lr",
    "compare_precisions": "compare-precisions",
}

SCRIPTS = {"unpack": "pack"}  # of a rule that shares that of another


def rules():
    text = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    return sorted(re.findall(r"^rule (\w+):", text, re.MULTILINE))


def commands():
    return {action.dest: action for action in build_parser()._actions}["command_name"].choices


@pytest.mark.parametrize("rule", rules())
def test_every_rule_has_a_twin_by_hand(rule):
    assert TWINS.get(rule, rule) in commands()
    assert (ROOT / "workflow" / "scripts" / f"{SCRIPTS.get(rule, rule)}.py").exists()


@pytest.mark.parametrize(
    "script", sorted((ROOT / "workflow" / "scripts").glob("*.py")), ids=lambda path: path.stem
)
def test_scripts_only_adapt(script):
    text = script.read_text()
    assert script.stem in rules()
    assert not re.search(r"^\s*(if|for|while|def|class|try)\b", text, re.MULTILINE)
    assert len([line for line in text.splitlines() if line.strip()]) <= 25


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_explains_every_argument(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > 3
    for action in commands()[name]._actions:
        assert action.help, f"{name}: {action.dest} is not explained"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "no-such-run"],
        ["train", "rlsp-3-32.gaussian.s0", "--study", "{}/none.yaml"],
        ["compare", "{}", "{}"],
        ["upscale", "{}/none.mp4", "{}/out.mp4", "--weights", "released:9-9"],
        ["figures", "--tables", "{}"],
        ["reference", "{}"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_mistakes_are_one_line(tmp_path, arguments):
    with pytest.raises(SystemExit) as end:
        main([argument.format(tmp_path) for argument in arguments])
    assert end.value.code.startswith("error: ") and "\n" not in end.value.code


@pytest.mark.slow
def test_a_mistake_ends_with_status_1_and_nothing_but_its_line():
    command = [sys.executable, "-m", "rlsp", "train", "no-such-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch("error: .*no-such-run.*\n", done.stderr), done.stderr


def test_an_unsupported_pytorch_is_one_line(monkeypatch):
    """Said before anything imports it, with what is needed and what was found."""
    monkeypatch.setattr(provenance, "version", lambda name: "2.8.0+cpu")
    with pytest.raises(
        SystemExit, match=r"error: expected PyTorch 2\.9 or newer, found 2\.8\.0\+cpu; install it"
    ):
        main(["keys"])
    for found in ("2.9.0", "2.13.0+cpu", "3.0.0a0+git1234"):
        monkeypatch.setattr(provenance, "version", lambda name, found=found: found)
        check_torch()

    def none(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(provenance, "version", none)
    with pytest.raises(ConfigError, match="expected PyTorch 2.9 or newer, found none"):
        check_torch()


@pytest.mark.parametrize("found", [(3, 10, 13), (3, 15, 0)])
def test_an_unsupported_python_is_one_line(monkeypatch, found):
    monkeypatch.setattr(sys, "version_info", found)
    with pytest.raises(SystemExit) as end:
        importlib.reload(rlsp)
    assert end.value.code == f"error: expected Python 3.11 to 3.14, found 3.{found[1]}"


def test_an_older_python_reads_the_check():
    """It stands where nothing has syntax that an older Python would not even parse."""
    ast.parse((ROOT / "rlsp" / "__init__.py").read_text(), feature_version=(3, 7))


def test_config_reference_is_up_to_date():
    """config/README.md says how studies are written, and ends with what `rlsp keys` prints."""
    head, found, tables = (ROOT / "config" / "README.md").read_text().partition("### Study\n")
    assert found + tables == list_keys().strip() + "\n"
    assert head.startswith("# Configuration\n") and "(`rlsp keys`)" in head


def test_frame_sizes_are_names_or_pixels(capsys):
    parse = build_parser().parse_args
    assert parse(["time", "--sizes", "4k", "24x32"]).sizes == ["4k", (24, 32)]
    for wrong in ("8k", "24", "7x32", "x"):
        with pytest.raises(SystemExit):
            parse(["time", "--sizes", wrong])
        assert "expected 360p, 720p, full-hd, 4k or HxW of at least 8 pixels" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_is_timed_and_swept_by_hand(tmp_path, quick_ceilings):
    study = ["--study", str(ROOT / "tests" / "studies" / "tiny.yaml")]
    quick = ["--sizes", "16x16", "--repeats", "1", "--output", str(tmp_path / "a.csv")]
    main(["time", *study, "--models", "rlsp-2-8", *quick])
    rows = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert len(rows) >= 4 and all(row.startswith("tiny,rlsp-2-8,") for row in rows)
    assert "is_stable" in (tmp_path / "a-cases.csv").read_text()
    for command in (["time", *study, "--models"], ["sweep", *study, "--model"]):
        with pytest.raises(SystemExit, match="error: model: unknown name 'rlsp-2-9'"):
            main([*command, "rlsp-2-9"])
