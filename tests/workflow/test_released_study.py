"""The released study on the first frames of each clip, from a local mirror of the released files."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest

from rlsp.shipped import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.mirror]
STUDY = [str(ROOT / "config" / "released.yaml"), str(ROOT / "tests" / "studies" / "released-first.yaml")]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Serve a folder over loopback; returns the base URL."""
    servers = []

    def start(folder):
        handler = functools.partial(QuietHandler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/raw.githubusercontent.com"

    yield start
    for server in servers:
        server.shutdown()


def run(folder, mirror_url, *arguments):
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    return subprocess.run(
        [*command, "--configfile", *STUDY, "--", *arguments],
        cwd=folder,
        env={**os.environ, "RLSP_MIRROR": mirror_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_wrong_bytes_stop_it_and_the_right_ones_let_it_go_on(mirror, serve, tmp_path):
    """A flipped byte is named and nothing is lost; then the authors' weights give the authors' pixels."""
    spoilt = Path(shutil.copytree(mirror, tmp_path / "spoilt"))
    spoilt.chmod(0o755)
    victim = next(spoilt.rglob("walk/Frame 03.png"))
    victim.chmod(0o644)
    victim.parent.chmod(0o755)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    folder = tmp_path / "run"
    folder.mkdir()

    failed = run(folder, serve(spoilt))
    assert failed.returncode != 0
    assert "error: " in failed.stdout and "walk/Frame 03.png" in failed.stdout, failed.stdout[-3000:]
    fetched = folder / "data" / "downloads" / "vid4-first7"
    assert len(list(fetched.rglob("*.png"))) == 4 * 7 - 1
    assert not (fetched / "manifest.json").exists()

    done = run(folder, serve(mirror))
    assert done.returncode == 0, done.stdout[-4000:]
    results = folder / "results" / "released-first"
    exact = pd.read_csv(next((results / "exactness").glob("*.csv")))
    assert exact.groupby("clip")["frame"].count().to_dict() == dict.fromkeys(
        ["calendar", "city", "foliage", "walk"], 6
    )
    assert exact["max_difference"].max() <= 1
    assert exact["differing_pixels"].sum() <= 1e-4 * exact["pixels"].sum()
    accuracy = pd.read_csv(results / "tables" / "accuracy.csv")
    means = accuracy[(accuracy["clip"] == "mean") & (accuracy["protocol"] == "crop8-trim2-video")]
    psnr = means.set_index("variant")["psnr"]
    weights, frames = (psnr[[name for name in psnr.index if kind in name]].iloc[0] for kind in KINDS)
    assert weights == pytest.approx(frames, abs=0.002)
    assert weights > psnr["rlsp-7-48"] > psnr["bicubic"] + 2
    precisions = pd.read_csv(results / "rows" / "precisions.csv")
    assert set(precisions["precision"]) <= {"bf16"}  # none on a processor without it
    assert (precisions["difference_db"].abs() < 0.02).all()
    costs = pd.read_csv(results / "tables" / "cost_curves.csv")
    assert set(costs["quantity"]) == {"lr_pixels", "clip_length", "filters", "layers"}
    speed = pd.read_csv(results / "tables" / "speed.csv")
    assert set(speed["model"]) == {"rlsp-7-48", "rlsp-7-64", "bicubic", "frvsr-3-64"}
    assert (results / "figures" / "numbers" / "cost_curves.png").stat().st_size > 1000
    ledger = (results / "tables" / "claims.md").read_text()
    assert "first 7 frames only" in ledger
    assert (results / "report.html").stat().st_size > 100_000


def test_a_mirror_of_the_first_frames_is_fetched(mirror, serve, tmp_path):
    """What `make test-released` reads; a second run asks for nothing."""
    command = [sys.executable, str(ROOT / "tools" / "fetch_mirror.py"), str(tmp_path / "mirror")]
    for url in (serve(mirror), "http://127.0.0.1:9"):
        done = subprocess.run(command, env={**os.environ, "RLSP_MIRROR": url}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    fetched = [path for path in (tmp_path / "mirror").rglob("[!.]*") if path.is_file()]
    frames = [path for path in fetched if path.suffix == ".png" and "inputs" in path.parts]
    assert len(frames) == 4 * 7
    assert {"ckpt_rlsp_64.index"} <= {path.name for path in fetched}
    for path in fetched:
        assert path.read_bytes() == (mirror / path.relative_to(tmp_path / "mirror")).read_bytes()


KINDS = ("released weights", "released frames")
