"""Cost curves: fitted exponents, their tables and their figure."""

import re

import numpy as np
import pandas as pd
import pytest
from drawn import texts_inside
from made_tables import made_study, made_sweep, write_rows

from rlsp.reporting.analyses import cost_curves
from rlsp.reporting.analyses.cost_curves import COST_COLUMNS, QUANTITIES, fit_power_law
from rlsp.reporting.printing import markdown_text


@pytest.fixture
def made(tmp_path):
    """What is made of rows of cost curves: the numbers, and the study's results."""

    def of(sweep):
        results = write_rows(tmp_path, {"sweep": sweep}, made_study())
        return results.of(cost_curves.summarise), results

    return of


def drawn(frame, results):
    figure = cost_curves.figure(frame, results)
    return figure, texts_inside(figure)


def test_an_exact_power_law_has_its_exponent_and_no_error():
    law = fit_power_law(pd.Series([1, 2, 4, 8]), pd.Series([3.0, 12.0, 48.0, 192.0]))
    assert law.exponent == pytest.approx(2.0, abs=1e-12)
    assert law.factor == pytest.approx(3.0)
    assert law.exponent_se == pytest.approx(0.0, abs=1e-9)
    assert law.residual_percent == pytest.approx(0.0, abs=1e-9)


def test_error_and_residual_equal_hand_computed_values():
    # logarithms to the base e: x = 0, 1, 2 and y = 0, 1.3, 2, so slope 1, residuals -0.1, 0.2, -0.1
    law = fit_power_law(pd.Series(np.exp([0.0, 1.0, 2.0])), pd.Series(np.exp([0.0, 1.3, 2.0])))
    assert law.exponent == pytest.approx(1.0)
    assert law.exponent_se == pytest.approx((0.06 / 1 / 2) ** 0.5)
    assert law.residual_percent == pytest.approx(100 * (np.exp(0.02**0.5) - 1))


def test_two_values_have_no_error_and_one_has_no_exponent():
    law = fit_power_law(pd.Series([1, 10]), pd.Series([5.0, 50.0]))
    assert law.exponent == pytest.approx(1.0) and np.isnan(law.exponent_se)
    assert np.isnan(fit_power_law(pd.Series([4, 4]), pd.Series([5.0, 6.0])).exponent)
    law = fit_power_law(
        pd.Series([1, 2, 4, 8]), pd.Series([1.0, 2.0, np.nan, 0.0])
    )  # these have no logarithm
    assert law.exponent == pytest.approx(1.0)


def test_exponents_are_those_of_the_medians_and_memory_has_its_own(made):
    sweep = made_sweep()
    sweep.loc[sweep["repeat"] == 0, "runtime_ms"] *= 50  # one sample in three: the median does not move
    costs, _ = made(sweep.sample(frac=1, random_state=0))
    assert tuple(costs.columns) == COST_COLUMNS
    found = costs.drop_duplicates("quantity").set_index("quantity")
    expected = {"lr_pixels": 1.0, "clip_length": 1.0, "filters": 2.0, "layers": 0.5}
    assert found["time_exponent"].to_dict() == pytest.approx(expected)
    assert found["memory_exponent"].to_dict() == pytest.approx(dict.fromkeys(expected, 0.0), abs=1e-12)
    rows = costs[costs["quantity"] == "filters"]
    assert rows["value"].tolist() == [16, 64, 256]
    assert rows["median_ms"].tolist() == pytest.approx([3.0 * 16**2, 3.0 * 64**2, 3.0 * 256**2])


def test_two_ways_have_curves_tables_colours_and_findings_of_their_own(made):
    fast = made_sweep({"filters": 1.0}).assign(mode="fused")
    costs, results = made(pd.concat([made_sweep({"filters": 2.0}), fast]))
    assert costs.groupby("mode")["time_exponent"].first().to_dict() == pytest.approx(
        {"eager": 2.0, "fused": 1.0}
    )
    titles = [table.title for table in cost_curves.tables(costs, results)]
    assert titles == ["Cost curves of rlsp-5-32, eager fp32", "Cost curves of rlsp-5-32, fused fp32"]
    figure, texts = drawn(costs, results)
    assert {"eager fp32", "fused fp32"} <= set(texts)
    assert len({line.get_color() for line in figure.axes[0].lines}) == 2
    eager, fused = cost_curves.findings(costs, results)
    assert "(eager fp32, laptop cpu, 2 threads) time grows with the power 2.000 ± 0.000 of filters;" in eager
    assert "time grows with the power 1.000 ± 0.000 of filters;" in fused


def test_the_table_says_what_is_held_fixed_and_the_fit_once_a_curve(made):
    costs, results = made(made_sweep())
    text = markdown_text(cost_curves.tables(costs, results))
    assert "the rest held fixed at rlsp-5-32 (5 layers, 32 filters), LR 160x90, batch 1." in text
    assert "laptop cpu, 2 threads" in text and "Medians of 3 repeats" in text
    assert "| filters | 16 | 160x90 | 768 | 2.000 ± 0.000 | 0.0 | 100 | 0.000 ± 0.000 | 0.0 |" in text
    assert "| filters | 64 | 160x90 | 12,288 |  |  | 100 |  |  |" in text


def test_nothing_varied_nothing_shown(made):
    costs, results = made(made_sweep()[:0])
    assert costs.empty and tuple(costs.columns) == COST_COLUMNS
    assert cost_curves.figure(costs, results) is None
    assert cost_curves.tables(costs, results) == cost_curves.findings(costs, results) == []


def test_the_figure_has_a_column_for_each_quantity_and_its_exponents(made):
    figure, texts = drawn(*made(made_sweep()))
    assert len(figure.axes) == 2 * len(QUANTITIES)
    for law in ("pixels$^{1.00}$", "frames$^{1.00}$", "filters$^{2.00}$", "layers$^{0.50}$"):
        assert any(law in text for text in texts)
    assert sum("^{0.00}$" in text for text in texts) == 4  # memory
    filters = figure.axes[2]
    assert filters.get_xscale() == filters.get_yscale() == "log"
    points, line = filters.lines
    assert points.get_ydata().tolist() == pytest.approx([768, 12288, 196608])
    assert line.get_ydata()[[0, -1]].tolist() == pytest.approx([768, 196608])


def test_a_figure_of_one_quantity_can_be_drawn(made):
    figure, _ = drawn(*made(made_sweep({"layers": 1.0})))
    assert len(figure.axes) == 2


def test_a_value_that_could_not_be_run_says_why(made):
    sweep = made_sweep()
    lost = (sweep["quantity"] == "filters") & (sweep["value"] == 256)
    sweep.loc[lost, ["runtime_ms", "peak_memory_mb", "status"]] = [None, None, "out of memory"]
    sweep = sweep[~(lost & (sweep["repeat"] > 0))]
    costs, results = made(sweep)
    row = costs[(costs["quantity"] == "filters") & (costs["value"] == 256)].iloc[0]
    assert (row["status"], row["n_repeats"]) == ("out of memory", 0)
    assert row["time_exponent"] == pytest.approx(2.0)  # of the values that were timed
    text = markdown_text(cost_curves.tables(costs, results))
    assert re.search(r"\| filters \| 256 \|.*\| out of memory \|", text)


def test_two_values_have_an_exponent_without_an_error_in_the_findings(made):
    (text,) = cost_curves.findings(*made(made_sweep({"filters": 2.0}).query("value < 100")))
    assert "time grows with the power 2.000 of filters" in text
