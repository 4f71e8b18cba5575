import re
import subprocess
import sys

import pytest

from rlsp.cli import build_parser, main
from rlsp.config import ROOT
from rlsp.keys import list_keys

# Rules whose twin has another name: the command does what both rules do.
TWINS = {
    "download": "fetch",
    "interpolate": "restore",
    "collect": "tables",
    "fetch_archive": "fetch",
    "unpack": "pack",
    "compare_lr": "compare-lr",
    "compare_precisions": "compare-precisions",
}


def rules():
    text = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    return sorted(re.findall(r"^rule (\w+):", text, re.MULTILINE))


def commands():
    return {action.dest: action for action in build_parser()._actions}["command_name"].choices


@pytest.mark.parametrize("rule", rules())
def test_every_rule_has_a_twin_by_hand(rule):
    assert TWINS.get(rule, rule) in commands()
    assert (ROOT / "workflow" / "scripts" / f"{rule}.py").exists()


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


def test_mistakes_are_one_line(tmp_path):
    for arguments in (
        ["train", "no-such-run"],
        ["train", "rlsp-3-32.gaussian.s0", "--study", str(tmp_path / "none.yaml")],
        ["compare", str(tmp_path), str(tmp_path)],
        ["upscale", str(tmp_path / "none.mp4"), str(tmp_path / "out.mp4"), "--weights", "released:9-9"],
        ["figures", "--tables", str(tmp_path)],
        ["reference", str(tmp_path)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "rlsp", *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("error: "), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_config_reference_is_up_to_date():
    """config/README.md holds what `rlsp keys` prints."""
    assert list_keys().strip() in (ROOT / "config" / "README.md").read_text()


def test_frame_sizes_are_names_or_pixels(capsys):
    parse = build_parser().parse_args
    assert parse(["time", "--sizes", "4k", "24x32"]).sizes == ["4k", (24, 32)]
    for wrong in ("8k", "24", "7x32", "x"):
        with pytest.raises(SystemExit):
            parse(["time", "--sizes", wrong])
        assert "expected 360p, 720p, full-hd, 4k or HxW of at least 8 pixels" in capsys.readouterr().err


def test_a_study_is_timed_and_swept_by_hand(tmp_path):
    study = ["--study", str(ROOT / "tests" / "studies" / "tiny.yaml")]
    quick = ["--sizes", "16x16", "--repeats", "1", "--output", str(tmp_path / "a.csv")]
    main(["time", *study, "--models", "rlsp-2-8", *quick])
    rows = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert len(rows) >= 4 and all(row.startswith("tiny,rlsp-2-8,") for row in rows)
    assert "is_stable" in (tmp_path / "a-cases.csv").read_text()
    for command in (["time", *study, "--models"], ["sweep", *study, "--model"]):
        with pytest.raises(SystemExit, match="error: model: unknown name 'rlsp-2-9'"):
            main([*command, "rlsp-2-9"])
