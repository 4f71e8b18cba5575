"""The blocks of the README that are made from reference tables."""

import re

import pandas as pd
from made_tables import write_made

from rlsp.reporting.readme import demo_block


def test_a_study_of_several_seeds_and_inputs_fits_the_block(tmp_path):
    write_made(tmp_path, seeds=(0, 1, 2), degradations=("gaussian", "bicubic"), long_name=False)
    block = demo_block(tmp_path)
    lines = [line for line in block.split("\n") if line.startswith("|")]
    assert len({line.count(" | ") for line in lines}) == 1
    assert "photos (gaussian) [dB] | city (gaussian) [dB] | photos (bicubic) [dB]" in lines[0]
    accuracy = pd.read_csv(tmp_path / "tables" / "accuracy.csv")
    rows = accuracy.query("variant == 'rlsp-5-32' and clip == 'mean' and protocol == 'paper'")
    row = rows.query("dataset == 'city' and degradation == 'bicubic'").iloc[0]
    line = next(line for line in lines if line.startswith("| rlsp-5-32 |"))
    assert line.split(" | ")[4] == f"{row['psnr']:.2f} ± {row['psnr_std']:.2f}"
    for name in ("bicubic", "duf-52l"):  # no seeds; not timed here
        line = next(line for line in lines if line.startswith(f"| {name} |"))
        assert "±" not in line and line.endswith("| – | – |")
    assert "seeds 0, 1, 2 (mean ± standard deviation over seeds" in block
    assert re.search(r"gaussian input and bicubic input; mean over clips; .*; 600 steps", block)
