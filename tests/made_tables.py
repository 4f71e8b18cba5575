"""Made score, runtime and training rows for the tests of the reporting."""

import numpy as np
import pandas as pd

from rlsp.reporting.results import Results, collect_rows

SWITCHES = ("adjacent", "feedback", "state")
ABLATION = {
    "rlsp-5-32-frames": (False, False, False),
    "rlsp-5-32-adjacent": (True, False, False),
    "rlsp-5-32-feedback": (True, True, False),
    "rlsp-5-32": (True, True, True),
}
PROTOCOLS = {
    "paper": {"channel": "y", "crop": 8, "trim": [2, 2], "average": "video"},
    "full": {"channel": "y", "crop": 0, "trim": [0, 0], "average": "frame"},
    "rgb": {"channel": "rgb", "crop": 8, "trim": [0, 0], "average": "video"},
}


def made_study(**changes):
    rlsp = {"arch": "rlsp", "layers": 5, "filters": 32}
    models = {name: rlsp | dict(zip(SWITCHES, on, strict=True)) for name, on in ABLATION.items()}
    study = {
        "study": "made",
        "protocols": PROTOCOLS,
        "headline_protocol": "paper",
        "ablation": list(ABLATION),
        "models": models
        | {
            "rlsp-3-16": {"arch": "rlsp", "layers": 3, "filters": 16},
            "rlsp-7-128-with-a-very-long-name.and-more": rlsp,
        },
        "reference_model": "rlsp-5-32",
        "device": "laptop cpu",
    }
    return study | changes


def made_scores(
    runs,
    clips=(("photos", "coffee", 16), ("photos", "motor", 16), ("city", "shot-2", 49)),
    crops=(0, 8),
    seed=0,
):
    """Rows of `runs` = [(run, model, origin, recipe, seed, degradation, base PSNR)], from a cold start."""
    random = np.random.default_rng(seed)
    rows = []
    for run, model, origin, recipe, run_seed, degradation, base in runs:
        for number, (dataset, clip, frames) in enumerate(clips):
            for frame in range(frames):
                psnr = base + 2.5 * number + 0.15 * np.sin(frame / 3) + random.normal(0, 0.05)
                psnr -= 1.5 * np.exp(-frame / 2) * (origin == "trained")
                for crop in crops:
                    value = psnr - 0.2 * (crop == 0)
                    rows.append(
                        {
                            **{
                                "study": "made",
                                "run": run,
                                "origin": origin,
                                "model": model,
                                "recipe": recipe,
                            },
                            **{
                                "seed": run_seed,
                                "degradation": degradation,
                                "dataset": dataset,
                                "clip": clip,
                            },
                            **{"frame": frame, "crop": crop, "mse_y": 255**2 / 10 ** (value / 10)},
                            **{"psnr_y": value, "ssim_y": 0.8 + (value - 25) / 50, "psnr_rgb": value - 1.3},
                            "tof": 0.2 + (30 - base) / 40 + 0.02 * number if frame else None,
                            "warp_error": (12.0 + 30 - base) / 10000 if frame else None,
                        }
                    )
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def made_runs(seeds=(0,), degradations=("gaussian",), long_name=True):
    models = [*ABLATION, "rlsp-3-16", *(["rlsp-7-128-with-a-very-long-name.and-more"] if long_name else [])]
    runs = []
    for degradation in degradations:
        runs.append((f"bicubic.{degradation}", "bicubic", "interpolation", None, None, degradation, 23.6))
        for number, model in enumerate(models):
            for seed in seeds:
                run = f"{model}.{degradation}.s{seed}"
                psnr = 24.5 + 0.5 * number + 0.05 * seed
                runs.append((run, model, "trained", "demo", seed, degradation, psnr))
        runs.append((f"duf-52l.{degradation}", "duf-52l", "released-frames", None, None, degradation, 27.3))
    return runs


def made_runtime(models, device="laptop cpu", modes=("eager",), seed=1):
    random = np.random.default_rng(seed)
    rows = []
    for number, model in enumerate(models):
        for mode in modes:
            for repeat in range(11):
                rows.append(
                    {
                        **{"study": "made", "model": model, "spec_hash": f"{number:08x}", "device": device},
                        **{"threads": 2, "precision": "fp32", "mode": mode, "lr_height": 90, "lr_width": 160},
                        **{"boundary": "network", "batch": 1, "repeat": repeat},
                        "runtime_ms": 3.0 * 1.9**number * (1 + abs(random.normal(0, 0.05))),
                        **{"parameters": 10_000 * 3**number, "gmac_per_frame": 0.2 * 3**number},
                        "peak_memory_mb": 300.0 + 10 * number,
                    }
                )
    return pd.DataFrame(rows)


CASE = ("study", "model", "spec_hash", "device", "threads", "precision", "mode", "lr_height", "lr_width")


def made_cases(runtime, **changes):
    """A row for each case of `runtime`, all well; `changes` are columns set to one value."""
    cases = runtime[[*CASE, "boundary", "batch"]].drop_duplicates(ignore_index=True)
    facts = {"status": "ok", "warmup_frames": 5, "is_stable": True, "matrix_tflops": 0.125}
    facts |= {"bandwidth_gbs": 12.5, "floor_compute_ms": 1.5, "floor_memory_ms": 0.5, "peak_memory_mb": 64.0}
    facts |= {"latency_ms": None, "energy_j": None, "clock_mhz": None, "temperature_c": None, "busy": None}
    return cases.assign(**(facts | changes))


def made_sweep(exponents=None, device="laptop cpu", repeats=3):
    """Rows of cost curves that are exact power laws, of time; memory stays at 100 MB."""
    exponents = exponents or {"lr_pixels": 1.0, "clip_length": 1.0, "filters": 2.0, "layers": 0.5}
    values = {"lr_pixels": (3600, 14400, 57600), "clip_length": (1, 4, 16), "filters": (16, 64, 256)}
    values["layers"] = (3, 5, 7)
    rows = []
    for quantity, exponent in exponents.items():
        for value in values[quantity]:
            side = round((value / 9 * 16) ** 0.5 / 16) if quantity == "lr_pixels" else 10
            row = {"study": "made", "device": device, "threads": 2, "precision": "fp32", "mode": "eager"}
            row |= {"model": "rlsp-5-32", "quantity": quantity, "value": value, "lr_height": 9 * side}
            row |= {"lr_width": 16 * side, "runtime_ms": 3.0 * value**exponent}
            row |= {"peak_memory_mb": 100.0, "status": "ok"}
            rows += [row | {"repeat": repeat} for repeat in range(repeats)]
    return pd.DataFrame(rows)


def made_training(runs, steps=600, seed=2):
    random = np.random.default_rng(seed)
    step = np.arange(10, steps + 1, 10)
    parts = []
    for run, model, origin, recipe, run_seed, degradation, base in runs:
        if origin != "trained":
            continue
        loss = 0.02 * np.exp(-step / 150) + 0.003 + random.normal(0, 2e-4, len(step)) + (30 - base) / 5000
        parts.append(
            pd.DataFrame(
                {
                    **{"run": run, "model": model, "recipe": recipe, "degradation": degradation},
                    **{"seed": run_seed, "step": step, "loss": loss, "psnr": -10 * np.log10(loss)},
                    **{"learning_rate": 0.003, "steps_per_second": 20.0},
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def write_made(
    folder, *, seeds=(0,), degradations=("gaussian",), study=None, clips=None, long_name=True, **rows
):
    """Collect the rows of a made study in ``rows/`` of a folder; `rows` replaces those of a kind by others."""
    runs = made_runs(seeds, degradations, long_name)
    timed = dict.fromkeys(model for _, model, origin, *_ in runs if origin == "trained")
    runtime = made_runtime(timed)
    made = {
        "scores": made_scores(runs, **({"clips": clips} if clips else {})),
        "runtime": runtime,
        "cases": made_cases(runtime),
        "sweep": made_sweep(),
        "training": made_training(runs),
    } | rows
    return write_rows(folder, made, study or made_study())


def write_rows(folder, rows, study):
    """Collect rows by their kind in ``rows/`` of a folder, and read them as results."""
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    files = {}
    for kind, table in rows.items():
        files[kind] = [folder / "raw" / f"{kind}.csv"]
        table.to_csv(*files[kind], index=False)
    collect_rows(files, study, folder / "rows")
    return Results(folder)
