import pandas as pd
import pytest

from rlsp import columns
from rlsp.columns import SCORES, TRAINING, TRAINING_LOG, Columns, joined, read_table
from rlsp.errors import DataError
from rlsp.metrics import METRICS

TABLES = {name: value for name, value in vars(columns).items() if isinstance(value, Columns)}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_an_empty_table_is_read_as_it_was_written(table, tmp_path):
    table.empty().to_csv(tmp_path / "a.csv", index=False)
    assert list(read_table(tmp_path / "a.csv", table).columns) == list(table.names)


def test_columns_that_were_added_later_are_read_as_empty(tmp_path):
    (tmp_path / "old.csv").write_text("step,loss,psnr,learning_rate,steps_per_second\n10,1.5,30,0.1,2\n")
    old = read_table(tmp_path / "old.csv", TRAINING_LOG)
    assert old["validation_psnr"].isna().all() and old["precision"].isna().all()
    new = old.assign(precision="bf16")
    labels = ("run", "model", "recipe", "degradation", "seed")
    both = joined([table.assign(**dict.fromkeys(labels, "a")) for table in (old, new)], TRAINING)
    assert list(both["precision"].fillna("")) == ["", "bf16"]
    (tmp_path / "old.csv").write_text("step,loss,learning_rate,steps_per_second\n10,1.5,0.1,2\n")
    with pytest.raises(DataError, match=r"old\.csv: missing columns psnr$"):
        read_table(tmp_path / "old.csv", TRAINING_LOG)


def test_names_stay_text_and_seeds_whole(tmp_path):
    (tmp_path / "a.csv").write_text("clip,model,seed\n007,nan,1\n1e3,x,\n")
    table = read_table(tmp_path / "a.csv", ["clip", "model", "seed"])
    assert list(table["clip"]) == ["007", "1e3"] and list(table["model"]) == ["nan", "x"]
    assert table["seed"].iloc[0] == 1 and table["seed"].isna().iloc[1]


def test_a_column_that_is_not_declared_is_no_part_of_a_table():
    with pytest.raises(KeyError, match="undeclared columns speed"):
        Columns(("model", "speed"))


def test_scores_may_have_columns_of_measures_and_other_tables_may_not(tmp_path):
    table = SCORES.empty().assign(sharpness=[]).reindex([0])
    assert "sharpness" in joined([table], SCORES).columns
    table = TRAINING.empty().assign(sharpness=[]).reindex([0])
    assert list(joined([table], TRAINING).columns) == list(TRAINING.names)


def test_every_declared_column_is_in_some_table_or_a_measure():
    in_tables = {name for table in TABLES.values() for name in table.names}
    assert in_tables <= set(columns.COLUMNS) <= in_tables | {metric.name for metric in METRICS}
    kinds = {columns.TEXT, columns.WHOLE, columns.NUMBER, columns.FLAG}
    assert {kind for kind, _ in columns.COLUMNS.values()} == kinds
    assert pd.Index([*columns.COLUMNS, *columns.SUMMARY_TEXTS]).is_unique
