"""Why jobs run again: changed keys by name, in Snakemake's own words around them."""

import logging

import pytest
from snakemake.persistence import ParamsChange

from rlsp.reasons import ShortReasons, shorten_reason

RECIPE = {"steps": 100, "learning_rate": 0.003, "augment": ["flip"], "loss": {"kind": "mse"}}
MODEL = {"arch": "rlsp", "layers": 7, "filters": 48}


def said(before, now, head="", tail=""):
    """What Snakemake's own classes make of two lists of params."""
    change = ParamsChange({repr(value) for value in before}, {repr(value) for value in now})
    return f"{head}Params have changed since last execution: {change}{tail}"


@pytest.mark.parametrize(
    "before, now, line",
    [
        ([RECIPE], [RECIPE | {"learning_rate": 0.002}], "learning_rate: 0.003 -> 0.002"),
        ([RECIPE], [RECIPE | {"loss": {"kind": "charbonnier"}}], "loss.kind: mse -> charbonnier"),
        ([RECIPE], [RECIPE | {"steps": 7, "augment": []}], "steps: 100 -> 7; augment: ['flip'] -> []"),
        ([RECIPE], [RECIPE | {"pad": True}], "pad: (none) -> True"),
        (["0a1b"], ["77ff"], "0a1b -> 77ff"),
        ([RECIPE], [], "{'steps': 100, 'learning_rate': 0.003, 'augment': ['flip'], ... -> (none)"),
        ([], [3], "(none) -> 3"),
        ([{"a": 1}], [{"a": 1.0}], "a: 1 -> 1.0"),
    ],
)
def test_changed_keys_are_named(before, now, line):
    assert shorten_reason(said(before, now)) == f"Params have changed since last execution: {line}"


def test_maps_are_paired_by_their_keys():
    now = [MODEL | {"filters": 64}, RECIPE | {"steps": 5}]
    short = shorten_reason(said([RECIPE, MODEL], now)).partition("execution: ")[2]
    assert sorted(short.split("; ")) == ["filters: 48 -> 64", "steps: 100 -> 5"]


def test_maps_of_equal_keys_are_paired_by_their_values():
    hashes, specs = {"a": "1f", "b": "2e"}, {"a": MODEL, "b": MODEL | {"filters": 4}}
    now = [{"a": "1f"}, {"a": MODEL}, RECIPE | {"steps": 5}]
    short = shorten_reason(said([hashes, specs, RECIPE], now)).partition("execution: ")[2]
    assert sorted(part.partition(":")[0] for part in short.split("; ")) == ["b", "b", "steps"]
    assert "b: 2e -> (none)" in short


def test_what_stands_around_stays():
    head, tail = "Code has changed since last execution; ", "; Software environment definition has changed"
    reason = said([RECIPE], [RECIPE | {"steps": 5}], head, tail)
    assert shorten_reason(reason) == f"{head}Params have changed since last execution: steps: 100 -> 5{tail}"


def test_what_cannot_be_read_stays():
    for reason in (
        "Missing output files: a.csv",
        said([], []),
        said(["x"], ["y"]).replace("'x'", "<object>"),
    ):
        assert shorten_reason(reason) == reason


def test_many_keys_are_counted():
    before = {f"key{n}": n for n in range(30)}
    short = shorten_reason(said([before], [{key: -1 for key in before}]))
    assert short.count("->") == 12 and short.endswith("; and 18 more")


def test_records_of_the_logger_are_shortened(caplog):
    logger = logging.getLogger("snakemake.logging")
    keep = ShortReasons()
    logger.addFilter(keep)
    try:
        with caplog.at_level(logging.INFO, logger.name):
            logger.info("job", extra={"reason": said([RECIPE], [RECIPE | {"steps": 5}])})
    finally:
        logger.removeFilter(keep)
    assert [record.reason for record in caplog.records] == [
        "Params have changed since last execution: steps: 100 -> 5"
    ]
