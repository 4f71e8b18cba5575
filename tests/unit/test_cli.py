import ast
import contextlib
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import made_degradations
import numpy as np
import pytest
from snakemake_runs import new_folder, run

import rlsp
from rlsp import provenance
from rlsp.arguments import ARGUMENTS
from rlsp.cli import COMMANDS, build_parser, main
from rlsp.config.study import Study
from rlsp.config.study_files import read_config
from rlsp.data.clips import pack_clip
from rlsp.data.images import read_png, write_png
from rlsp.errors import ConfigError
from rlsp.files import write_json
from rlsp.models import build_model
from rlsp.models.weights import save_weights
from rlsp.planning.targets import step_targets
from rlsp.provenance import check_torch
from rlsp.reporting import reference
from rlsp.shipped import ROOT

SCRIPTS = ROOT / "workflow" / "scripts"
HEAVY = ("torch", "pandas", "numpy", "yaml", "pydantic", "jsonschema", "snakemake", "psutil")
GOLDENS = ROOT / "tests" / "goldens"
TINY = ROOT / "tests" / "studies" / "tiny.yaml"


def rules():
    text = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    return sorted(re.findall(r"^rule (\w+):", text, re.MULTILINE))


def typed(capsys, *words):
    """Type ``rlsp`` and words; returns what is printed."""
    with contextlib.suppress(SystemExit):  # of --help and --version
        main([str(word) for word in words])
    return capsys.readouterr().out


def none_installed(name):
    raise PackageNotFoundError(name)


def commands():
    return {action.dest: action for action in build_parser()._actions}["command_name"].choices


def test_what_people_type():
    assert sorted(commands()) == sorted(COMMANDS) == sorted(ARGUMENTS)
    assert set(commands()) == {
        "fetch", "where", "lr", "train", "rate", "time", "estimate", "upscale", "convert", "diagnose", "compare",
        "figures", "reference", "init", "keys",
    }  # fmt: skip


def test_help_imports_nothing_that_takes_time():
    code = f"""
import contextlib, io, sys
from rlsp.cli import COMMANDS, main
for words in [[], *([name] for name in COMMANDS)]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([*words, "--help"])
    found = [name for name in {HEAVY} if name in sys.modules]
    assert not found, (words, found)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_version(capsys):
    assert typed(capsys, "--version") == f"rlsp {rlsp.__version__}\n"


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
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
        ["fetch", "no-such-download"],
        ["rate", "no-such-run"],
        ["estimate", "--study", "{}/none.yaml"],
        ["diagnose", "{}", "{}"],
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["rlsp-3-32.gausian.s0"],
            "run: unknown name 'rlsp-3-32.gausian.s0'; did you mean rlsp-3-32.gaussian.s0?",
        ),
        (["bicubic.gaussian", "city-tst"], "dataset: unknown name 'city-tst'; did you mean city-test?"),
    ],
)
def test_unknown_names_have_a_likely_one(words, told):
    with pytest.raises(SystemExit) as end:
        main(["where", *words])
    assert end.value.code.startswith(f"error: {told} known: ")


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

    monkeypatch.setattr(provenance, "version", none_installed)
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


def test_config_reference_is_up_to_date(capsys):
    """config/README.md says how studies are written, and ends with what `rlsp keys` prints."""
    head, found, tables = (ROOT / "config" / "README.md").read_text().partition("### Study\n")
    assert found + tables == typed(capsys, "keys").strip() + "\n"
    assert head.startswith("# Configuration\n") and "(`rlsp keys`)" in head


def test_where_names_each_step_and_the_command_for_all(capsys):
    lines = typed(capsys, "where", "rlsp-3-32.gaussian.s0", "city-test").splitlines()
    steps = [re.split("  +", line) for line in lines[:-2]]
    patterns = {
        "training clips": r"data/clips/moves-train-\w+/manifest\.json",
        "training LR clips": r"data/lr/gaussian-\w+/moves-train-\w+/manifest\.json",
        "packed clips": r"data/clips/city-test-\w+/manifest\.json",
        "LR clips": r"data/lr/gaussian-\w+/city-test-\w+/manifest\.json",
        "flow": r"data/flow/city-test-\w+/manifest\.json",
        "weights": r"results/demo/weights/rlsp-3-32\.gaussian\.s0/model\.safetensors",
        "restored frames": r"results/demo/restored/rlsp-3-32\.gaussian\.s0/city-test/manifest\.json",
        "scores": r"results/demo/scores/rlsp-3-32\.gaussian\.s0/city-test\.csv",
    }
    assert [step for step, _ in steps] == list(patterns)
    for step, target in steps:
        assert re.fullmatch(patterns[step], target), step
    assert lines[-2:] == ["", f"snakemake --cores all {steps[-1][1]}"]
    every = typed(capsys, "where", "rlsp-3-32.gaussian.s0").splitlines()
    assert set(lines[:-1]) < set(every) and every[-1].endswith("/moves-test.csv " + steps[-1][1])


def test_what_a_run_does_not_have_is_left_out():
    config = read_config(TINY)
    config |= {"ablation": []}
    config["runs"] = [
        {"interpolation": "bicubic", "degradations": ["gaussian"]},
        {"name": "released", "weights": "released:7-48", "degradations": ["gaussian"]},
        {"name": "tuned", "weights": "/tuned.safetensors", "degradations": ["gaussian"]},
        {"name": "frames", "frames": "/frames", "degradations": ["gaussian"]},
    ]
    study = Study(config)
    made = ["packed clips", "LR clips", "flow", "weights", "restored frames", "scores"]
    left_out = {
        "bicubic": {"weights"},
        "released": set(),
        "tuned": {"weights"},
        "frames": {"LR clips", "weights"},
    }
    for name, missing in left_out.items():
        steps = step_targets(study, f"{name}.gaussian")
        assert list(steps) == [step for step in made if step not in missing]


@pytest.mark.parametrize("name", ["tiny", "demo", "released"])
def test_the_kept_plan_of_a_study_has_every_target(name):
    """Plans are kept as the workflow makes them; see test_goldens.py."""
    study = Study.from_file(TINY if name == "tiny" else ROOT / "config" / f"{name}.yaml")
    planned = json.loads((GOLDENS / f"{name}.json").read_text())["outputs"]
    for run_id in study.runs:
        for targets in step_targets(study, run_id).values():
            assert set(map(str, targets)) <= planned.keys()


@pytest.mark.workflow
def test_the_workflow_knows_every_target_and_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(new_folder(tmp_path / "clone"))
    list_jobs = [sys.executable, str(ROOT / "tests" / "list_jobs.py"), "Snakefile", "study.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(list_jobs, capture_output=True, text=True, check=True, env=environment)
    outputs = json.loads(done.stdout)["outputs"]
    for run_id in Study.from_file(TINY).runs:
        *lines, _, command = typed(capsys, "where", run_id, "--study", "study.yaml").splitlines()
        assert {line.rpartition("  ")[2] for line in lines} <= outputs.keys()
        if run_id == "rlsp-2-8.gaussian.s0":
            _, *options = shlex.split(command)
            jobs = run(tmp_path / "clone", "snakemake", *options, "--dry-run")
            assert set(re.findall(r"^(\w+) +\d+$", jobs, re.MULTILINE)) == {
                "pack", "degrade", "flow", "train", "restore", "score", "total",
            }  # fmt: skip


def test_a_study_is_estimated(tmp_path, capsys):
    assert "rlsp-2-8" in typed(capsys, "estimate", "--study", TINY, "--rates", tmp_path)


def test_kept_results_are_compared(capsys):
    one, other = sorted((ROOT / "results" / "reference" / "demo").iterdir())[:2]
    printed = typed(capsys, "compare", one, other)
    assert str(one) in printed and "rlsp-3-32" in printed


def test_a_reference_is_kept(capsys, monkeypatch):
    monkeypatch.setattr(reference, "copy_reference", lambda results: results / "kept")
    assert typed(capsys, "reference", "results/demo") == "results/demo/kept\n"


def test_lr_frames_are_written_for_other_methods(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study.from_file(ROOT / "config" / "demo.yaml")
    with pytest.raises(
        SystemExit, match=r"^error: data/lr/.*: not made yet; say: snakemake --cores all data/lr/"
    ):
        main(["lr", "moves-test", "out"])
    frames = np.arange(2 * 8 * 12 * 3, dtype=np.uint8).reshape(2, 8, 12, 3)
    manifest = study.lr("gaussian", "moves-test")
    write_json(manifest, {"clips": {"walk": pack_clip(iter(frames), manifest.parent / "walk.npy", scale=1)}})
    assert typed(capsys, "lr", "moves-test", "out") == "out/walk\n"
    written = sorted(Path("out/walk").iterdir())
    assert [path.name for path in written] == ["00000.png", "00001.png"]
    for path, frame in zip(written, frames, strict=True):
        np.testing.assert_array_equal(read_png(path), frame)
    with pytest.raises(SystemExit, match="error: dataset: unknown name 'moves'; did you mean moves-test"):
        main(["lr", "moves", "out"])
    with pytest.raises(SystemExit, match="error: --degradation: unknown name 'bicubic'; .*known: gaussian"):
        main(["lr", "moves-test", "out", "--degradation", "bicubic"])


def write_clip(folder):
    rng = np.random.default_rng(0)
    for number in range(3):
        write_png(folder / f"{number}.png", rng.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    return folder


def test_a_folder_of_pictures_is_upscaled_and_diagnosed(tmp_path, capsys):
    spec = {"arch": "rlsp", "layers": 2, "filters": 4}
    metadata = {"model": spec, "degradation": made_degradations.BICUBIC}
    save_weights(tmp_path / "model.safetensors", build_model(spec), metadata)
    clip, target = write_clip(tmp_path / "clip"), tmp_path / "target"
    typed(capsys, "upscale", clip, target, "--weights", tmp_path / "model.safetensors", "--device", "cpu")
    assert [read_png(path).shape for path in sorted(target.glob("*.png"))] == [(256, 256, 3)] * 3
    assert typed(capsys, "diagnose", clip, clip).startswith("nothing found: ")
    shutil.copy(target / sorted(target.glob("*.png"))[0].name, clip / "3.png")
    with pytest.raises(SystemExit, match="error: "):
        main(["diagnose", str(clip), str(clip)])


def test_frame_sizes_are_names_or_pixels(capsys):
    parse = build_parser().parse_args
    assert parse(["time", "--sizes", "4k", "24x32"]).sizes == ["4k", (24, 32)]
    for wrong in ("8k", "24", "7x32", "x"):
        with pytest.raises(SystemExit):
            parse(["time", "--sizes", wrong])
        assert "expected 360p, 720p, full-hd, 4k or HxW of 8 to 16384 pixels" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_is_timed_by_hand(tmp_path, quick_ceilings):
    quick = ["--sizes", "16x16", "--repeats", "1", "--output", str(tmp_path / "a.csv")]
    main(["time", "--study", str(TINY), "--models", "rlsp-2-8", *quick])
    rows = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert len(rows) >= 4 and all(row.startswith("tiny,rlsp-2-8,") for row in rows)
    assert "is_stable" in (tmp_path / "a-cases.csv").read_text()
    with pytest.raises(SystemExit, match="error: model: unknown name 'rlsp-2-9'"):
        main(["time", "--study", str(TINY), "--models", "rlsp-2-9"])
