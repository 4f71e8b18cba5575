"""What a study file may be: each refusal is one line, and comes before the file can cost time or memory."""

import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from rlsp.config.reading import MOST_BYTES, MOST_LEVELS, MOST_NODES, read_yaml
from rlsp.errors import ConfigError
from rlsp.shipped import ROOT

STUDIES = sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/studies/*.yaml")])
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 300))
TOO_DEEP = "expected at most 32 levels of maps and lists, got more in line"
TOO_MANY = "expected at most 100,000 nodes, aliases in full, got more in line"
OTHER_KIND = "expected text, numbers, lists and maps, got"


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write a study file in the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(content):
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / "study.yaml").write_bytes(content)
        return "study.yaml"

    return write


def refused(path):
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_a_study_is_read_as_by_yaml(path):
    content = read_yaml(path)
    assert content == yaml.safe_load(path.read_text(encoding="utf-8"))
    assert repr(content) == repr(yaml.safe_load(path.read_text(encoding="utf-8")))  # 1 is not 1.0


def test_the_catalogue_has_merge_keys():
    assert "<<: *" in (ROOT / "config" / "catalogue.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (
            "a: [1e-3, 0.001, 011, 1:30, 1_000, 0x1f, yes, ~, '12']",
            ["1e-3", 0.001, 9, 90, 1000, 31, True, None, "12"],
        ),
        ("a: [2020-01-01, 2020-01-01 10:00:00, =]", ["2020-01-01", "2020-01-01 10:00:00", "="]),
        ("a: [!!str 12, !!float 1, !!int '3']", ["12", 1.0, 3]),
        ("x: &x {b: 1, c: 2}\na: {<<: *x, b: 3}", {"b": 3, "c": 2}),
        ("x: &x {b: 1}\ny: &y {b: 2, c: 3}\na: {<<: [*x, *y]}", {"b": 1, "c": 3}),
        ('x: &x {b: 1}\na: {<<: *x, "<<": 2}', {"b": 1, "<<": 2}),
        ("a: {2020-01-01: 1, =: 2, '12': 3}", {"2020-01-01": 1, "=": 2, "12": 3}),
        ("\ufeffa: b\r\n", "b"),
        ("a: é 漢 🎞\n...\n", "é 漢 🎞"),
        (f"a: {'[' * (MOST_LEVELS - 1)}{']' * (MOST_LEVELS - 1)}", json.loads("[" * 31 + "]" * 31)),
        (f"a: {'9' * 100}", int("9" * 100)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_values(written, text, content):
    read = read_yaml(written(text))["a"]
    assert read == content and repr(read) == repr(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # the text
        (b"a: 1\nb: \xe9t\xe9", "expected UTF-8, got byte 0xe9 in line 2"),
        ("a: 1".encode("utf-16"), "expected UTF-8, got byte 0xff in line 1"),
        (b"a: 1\n\nb: \0", "expected text, got control character '\\x00' in line 3"),
        (b"a: \x1b[31m", "expected text, got control character '\\x1b' in line 1"),
        (b"#" * 3_150_000, "expected at most 1 MB, got 3.2 MB"),
        (b"#" * (MOST_BYTES + 1), "expected at most 1 MB, got 1.1 MB"),
        # YAML
        ("a: b: c", "not YAML (line 1, column 5: mapping values are not allowed here)"),
        ("a: *b", "not YAML (line 1, column 4: found undefined alias 'b')"),
        (
            "a: [1,\nb: 2",
            "not YAML (line 2, column 5: while parsing a flow sequence in line 1, "
            "expected ',' or ']', but got '<stream end>')",
        ),
        (
            "a:\n\tb: 1",
            "not YAML (line 2, column 1: while scanning for the next token, "
            "found character '\\t' that cannot start any token)",
        ),
        (
            "a: 1\n---\nb: 2",
            "not YAML (line 2, column 1: expected a single document in the stream in line 1, "
            "but found another document)",
        ),
        (
            "a: &a 1\nb: &a 2",
            "not YAML (line 2, column 4: found duplicate anchor 'a'; first occurrence in line 1, "
            "second occurrence)",
        ),
        (
            "a: {<<: 3}",
            "not YAML (line 1, column 9: while constructing a mapping in line 1, "
            "expected a mapping or list of mappings for merging, but found scalar)",
        ),
        ("a: !!map x", "not YAML (line 1, column 4: expected a mapping node, but found scalar)"),
        ('a: "\\UFFFFFFFF"', "not YAML (line 1, column 7: number out of range)"),
        (f"%YAML {'1' * 5000}.1\n--- {{}}", "not YAML (line 1, column 7: number out of range)"),
        # values
        (
            "a: !!python/object/apply:os.system [ls]",
            f"a: {OTHER_KIND} !!python/object/apply:os.system in line 1",
        ),
        ("b: 1\na: [0, !include x]", f"a.1: {OTHER_KIND} !include in line 2"),
        ("a: !!binary aGk=", f"a: {OTHER_KIND} !!binary in line 1"),
        ("a: !!set {b, c}", f"a: {OTHER_KIND} !!set in line 1"),
        ("a: !!timestamp 2020-01-01", f"a: {OTHER_KIND} !!timestamp in line 1"),
        ("a: 0b_", "expected !!int, got 0b_ in line 1"),
        ("a: !!int abc", "expected !!int, got abc in line 1"),
        ("a: !!int ''", "expected !!int, got nothing in line 1"),
        ("a: !!bool abc", "expected !!bool, got abc in line 1"),
        ("a: " + "1" * 5000, "a: expected a number of at most 100 characters, got 5,000 in line 1"),
        ("a: 1" + ":1" * 400_000, "a: expected a number of at most 100 characters, got 800,001 in line 1"),
        ("a: 0x" + "f" * 4000, "a: expected a number of at most 100 characters, got 4,002 in line 1"),
        ('a: "\\0"', "a: expected text, got control character '\\x00' in line 1"),
        ('a: "\\ud800"', "a: expected text, got control character '\\ud800' in line 1"),
        # keys
        (
            "models:\n  rlsp-7-48: {layers: 7}\n\n  rlsp-7-48: {layers: 3}",
            "models.rlsp-7-48: key given twice, in lines 2 and 4",
        ),
        ("runs:\n  - {seeds: 1}\n  - {tag: a, tag: b}", "runs.1.tag: key given twice, in line 3"),
        ("a: 1\nb: 2\n'a': 3", "a: key given twice, in lines 1 and 3"),
        ("x: &x {b: {c: 1, c: 2}}\na: *x", "x.b.c: key given twice, in line 1"),
        ("x: &x {b: 1}\na:\n  <<: *x\n  <<: *x", "a.<<: key given twice, in lines 3 and 4"),
        ("? " + "k" * 999 + "\n: 1\n? " + "k" * 999, f"{'k' * 59}…: key given twice, in lines 1 and 3"),
        ('"a\\tb": 1\n"a\\tb": 1', "a\\tb: key given twice, in lines 1 and 2"),
        ("models:\n  12: a", 'models: expected text as a key, got 12 in line 2: write "12"'),
        ("on: 1", 'expected text as a key, got on in line 1: write "on"'),
        ("a:\n  ? \n  : b", "a: expected text as a key, got nothing in line 2"),
        ("? [a]\n: b", "expected text as a key, got a list in line 1"),
        ("? {a: b}\n: c", "expected text as a key, got a map in line 1"),
        ("? !!str [a]\n: b", "expected text as a key, got a list in line 1"),
        ('"a\\e[31m": 1', "expected text, got control character '\\x1b' in line 1"),
        # the document
        ("- a", "expected a map of keys, got list"),
        ("abc", "expected a map of keys, got str"),
        ("# nothing\n", "expected a map of keys, got NoneType"),
        # size and depth
        ("[" * 100_000, f"{TOO_DEEP} 1"),
        ("{a: " * 100_000, f"{TOO_DEEP} 1"),
        ("- " * 100_000, f"{TOO_DEEP} 1"),
        ("".join(f"{' ' * i}a:\n" for i in range(1000)), f"{TOO_DEEP} 33"),
        (f"a: {'[' * MOST_LEVELS}{']' * MOST_LEVELS}", f"{TOO_DEEP} 1"),
        (CHAIN, f"{TOO_DEEP} 32"),
        (LAUGHS, f"{TOO_MANY} 6"),
        (MERGES, f"{TOO_MANY} 6"),
        ("a: &a [*a]", "expected *a after the end of &a, got it inside, in line 1"),
        ("a: &a\n  b: {<<: *a}", "expected *a after the end of &a, got it inside, in line 2"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_each_refusal_is_one_line(written, text, message):
    path = written(text)
    started = time.process_time()
    assert refused(path) == f"study.yaml: {message}"
    assert time.process_time() - started < 5  # most take a millisecond, the longest 0.7 s


def test_nodes_are_counted_as_if_aliases_were_written_out(written):
    text = f"a: &a [{'x, ' * 999}]\nb: [{'*a, ' * 98}{{}}]"
    most = MOST_NODES - (1 + 1 + 1000 + 1 + 1 + 98 * 1000)  # the map, a, its list, b, a list of 98 such
    content = read_yaml(written(text.replace("{}", ", ".join("x" * most))))
    assert content["b"][97] == ["x"] * 999 and len(content["b"]) == 98 + most
    assert refused(written(text.replace("{}", ", ".join("x" * (most + 1))))) == f"study.yaml: {TOO_MANY} 2"


def test_files_that_are_not_there_or_not_readable(written, tmp_path):
    assert refused("none.yaml") == "none.yaml: No such file or directory"
    assert refused(tmp_path) == f"{tmp_path}: expected a regular file, got a folder"
    assert refused("/dev/zero") == "/dev/zero: expected a regular file, got a device"
    os.symlink("loop.yaml", "loop.yaml")
    assert refused("loop.yaml") == "loop.yaml: Too many levels of symbolic links"
    path = written("a: 1")
    os.chmod(path, 0)
    if not os.access(path, os.R_OK):  # root reads everything
        assert refused(path) == "study.yaml: Permission denied"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "study.yaml")
    command = "from rlsp.config.reading import read_yaml; read_yaml('study.yaml')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stderr.endswith("ConfigError: study.yaml: expected a regular file, got a pipe\n")
