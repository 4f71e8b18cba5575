"""Wide tables of run times, speed and cost for people: the sections that Markdown and LaTeX print."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from rlsp.reporting.costs import CURVE_COLUMNS, QUANTITIES
from rlsp.reporting.printing import EMPTY, Section, count_text, number_text, plural, time_text
from rlsp.reporting.protocols import protocol_label
from rlsp.reporting.speed import PUBLISHED_PSNR
from rlsp.reporting.timing import OK, PLAIN, SETTING_COLUMNS, headline_setting, is_processor, is_unstable

LONGEST_REASON = 60  # characters of a reason that a table can bear; the CSV has all of it
UNSTABLE = "not stable after warm-up"
Column = tuple[tuple[str, str], Callable[[Any], str]]  # its head, and the text of a row

# ---- run times ---------------------------------------------------------------------------------


def runtime_sections(timing: pd.DataFrame, study: dict[str, Any], facts: str) -> list[Section]:
    """Return the table of the headline's setting, then one for every other setting."""
    headline = headline_setting(timing)
    settings = [("Headline", headline)] if not headline.empty else []
    rest = timing.drop(index=headline.index)
    groups = rest.groupby(list(SETTING_COLUMNS), sort=False, dropna=False)
    settings += [("Grid", rows) for _, rows in groups]
    return [runtime_section(kind, rows, study, facts) for kind, rows in settings]


def runtime_section(kind: str, rows: pd.DataFrame, study: dict[str, Any], facts: str) -> Section:
    """Return the run times of one setting: a row for each case, those that failed with their reason."""
    first = rows.iloc[0]
    group = f"{first['boundary']}, LR {first['lr_width']}x{first['lr_height']} [ms per output frame]"
    remarks = [remark(row, is_off) for row, is_off in zip(rows.itertuples(), is_unstable(rows), strict=True)]
    rows = rows.assign(remark=remarks)
    columns: list[Column] = [
        (("", "model"), lambda row: row.model),
        (("", "mode"), lambda row: row.mode),
        (("", "precision"), lambda row: row.precision),
        ((group, "median"), lambda row: time_text(row.median_ms)),
        ((group, "10 %"), lambda row: time_text(row.q10_ms)),
        ((group, "90 %"), lambda row: time_text(row.q90_ms)),
        (("", "frames per second"), lambda row: time_text(row.fps)),
        (("", "latency, idle device [ms]"), latency_text),
        (
            ("", f"median / {study.get('reference_model') or 'fastest'}, same way"),
            lambda row: number_text(row.time_ratio, 2),
        ),
        (("", f"times {' '.join(PLAIN)}"), lambda row: number_text(row.plain_ratio, 2)),
        (("", "floor [ms]"), lambda row: time_text(row.floor_ms)),
        (("", "floor / median"), lambda row: number_text(row.of_floor, 2)),
        (("", "floor set by"), lambda row: row.bound_by if isinstance(row.bound_by, str) else EMPTY),
        (("", "peak memory [MB]"), lambda row: count_text(row.peak_memory_mb)),
        (("", "energy per frame [J]"), lambda row: time_text(row.energy_j)),
        (("", "repeats"), lambda row: count_text(row.n_repeats)),
        (("", "remark"), lambda row: row.remark),
    ]
    optional = {f"times {' '.join(PLAIN)}", "floor [ms]", "floor / median", "floor set by"}
    optional |= {"latency, idle device [ms]", "energy per frame [J]", "remark"}
    heads, lines = laid_out(rows, columns, optional)
    return Section(f"{kind}: {runtime_caption(rows, study)} {facts}", heads, lines)


def latency_text(row: Any) -> str:
    """Return the latency of a GPU; on a CPU every sample is one."""
    return EMPTY if is_processor(row.device) else time_text(row.latency_ms)


def laid_out(
    rows: pd.DataFrame, columns: list[Column], optional: set[str]
) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Return heads and lines of a table, the optional columns only where some row has something in them."""
    cells = [(head, [text(row) for row in rows.itertuples()]) for head, text in columns]
    shown = [
        (head, texts) for head, texts in cells if head[1] not in optional or any(t != EMPTY for t in texts)
    ]
    return [head for head, _ in shown], [
        list(line) for line in zip(*[texts for _, texts in shown], strict=True)
    ]


def remark(row: Any, is_off: bool) -> str:
    """Return why a case has no numbers, or that its time was not stable."""
    if row.status != OK:
        reason = " ".join(str(row.status).split())
        return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1].rstrip() + "…"
    return UNSTABLE if is_off else EMPTY


def runtime_caption(rows: pd.DataFrame, study: dict[str, Any]) -> str:
    """Return what was timed and how, and what the device can do at most."""
    first = rows.iloc[0]
    kind = "latency, one frame at a time" if first["batch"] == 1 else f"throughput, batch {first['batch']}"
    text = (
        f"{kind}; {frame_text(first['lr_height'], first['lr_width'], study)}; "
        f"{boundary_text(first['boundary'])}. {first['device']}, {plural(first['threads'], 'thread')}; "
        "median and 10 and 90 % quantiles of the repeats, all cases interleaved."
    )
    if rows["floor_ms"].notna().any():
        text += (
            " Floor: the larger of operations over the measured matrix rate and fewest bytes over the measured "
            "bandwidth; floor / median is 1 at the floor."
        )
    return " ".join([text, *limits_text(rows), *circumstances_text(rows)])


def frame_text(height: int, width: int, study: dict[str, Any]) -> str:
    """Return the size of a frame, such as ``1920x1080 output, LR 480x270``."""
    specs = [*study.get("models", {}).values(), *study.get("degradations", {}).values()]
    scale = next((spec["scale"] for spec in specs if "scale" in spec), None)
    output = f"{width * scale}x{height * scale} output, " if scale else ""
    return f"{output}LR {width}x{height}"


def boundary_text(boundary: str) -> str:
    """Return what goes in and comes out of what is timed."""
    known = {
        "network": "network alone, float tensors to float tensors",
        "rgb8": "8-bit RGB in to 8-bit RGB out, chroma included",
    }
    return known.get(boundary, boundary)


def limits_text(rows: pd.DataFrame) -> list[str]:
    """Return the measured ceilings of the device, as a sentence where they are known."""
    rates = rows.dropna(subset=["matrix_tflops"]).drop_duplicates("precision")
    parts = [f"{row.precision} {rate_text(row.matrix_tflops)} TFLOP/s" for row in rates.itertuples()]
    widths = rows["bandwidth_gbs"].dropna()
    parts += [f"{rate_text(widths.max())} GB/s"] if not widths.empty else []
    return [f"Measured ceilings: {', '.join(parts)}."] if parts else []


def rate_text(value: float) -> str:
    """Return a rate with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def circumstances_text(rows: pd.DataFrame) -> list[str]:
    """Return clocks and temperatures while timing, and what else the machine was busy with."""
    parts = []
    for column, name, unit in (("clock_mhz", "clock", "MHz"), ("temperature_c", "temperature", "°C")):
        values = rows[column].dropna().astype(float)
        if not values.empty:
            ends = dict.fromkeys(f"{value:.0f}" for value in (values.min(), values.max()))
            parts.append(f"{name} {' to '.join(ends)} {unit}")
    texts = [f"While timing: {', '.join(parts)}."] if parts else []
    busy = [str(text).rstrip(".") for text in rows["busy"].dropna().unique() if str(text).strip()]
    return [*texts, f"Warning: {'; '.join(busy)}."] if busy else texts


# ---- complexity --------------------------------------------------------------------------------


def complexity_sections(complexity: pd.DataFrame, facts: str) -> list[Section]:
    """Return one table of model sizes and costs per device and frame, of the network and the smallest batch."""
    sections = []
    for (device, height, width), rows in complexity.groupby(
        ["device", "lr_height", "lr_width"], sort=False, dropna=False
    ):
        boundary = "network" if (rows["boundary"] == "network").any() else rows["boundary"].iloc[0]
        rows = rows[rows["boundary"] == boundary]
        rows = rows[rows["batch"] == rows["batch"].min()]
        heads = [("", "model"), ("", "mode"), ("", "precision"), ("", "parameters")]
        heads += [("", f"GMAC per output frame, LR {width}x{height}"), ("", "peak memory [MB]")]
        lines = [
            [
                *(row.model, row.mode, row.precision, count_text(row.parameters)),
                *(number_text(row.gmac_per_frame, 2), count_text(row.peak_memory_mb)),
            ]
            for row in rows.itertuples()
        ]
        caption = (
            f"Complexity at LR {width}x{height}, {boundary}, batch {rows['batch'].iloc[0]}; multiply-accumulates of "
            f"convolutions and matrix products, the rest left out; memory on {device}. {facts}"
        )
        sections.append(Section(caption, heads, lines))
    return sections


# ---- accuracy beside speed ---------------------------------------------------------------------


def speed_sections(speed: pd.DataFrame, study: dict[str, Any], facts: str) -> list[Section]:
    """Return one table per panel of Figure 1: every model and way by its time, beside what was published."""
    groups = speed.groupby(["dataset", "panel"], sort=False, dropna=False)
    return [speed_section(rows, study, facts) for _, rows in groups]


def speed_section(rows: pd.DataFrame, study: dict[str, Any], facts: str) -> Section:
    """Return the table of one panel."""
    first = rows.iloc[0]
    protocol = protocol_label(study["protocols"][study["headline_protocol"]])
    dataset = f"{first['dataset']}, {first['panel']}" if isinstance(first["dataset"], str) else "no data set"
    columns: list[Column] = [
        (("", "model"), lambda row: row.label),
        (("", "mode"), lambda row: row.mode),
        (("", "precision"), lambda row: row.precision),
        ((f"{protocol}, {dataset} [dB]", "PSNR"), lambda row: number_text(row.psnr, 2, row.psnr_std)),
        (("", "PSNR from"), psnr_from_text),
        (("", "median [ms per frame]"), lambda row: time_text(row.median_ms)),
        (("", "frames per second"), lambda row: time_text(row.fps)),
        (
            ("", f"time / {study.get('reference_model') or 'fastest'}, same way"),
            lambda row: number_text(row.time_ratio, 2),
        ),
        (("", "published ratio"), lambda row: text_or_empty(row.published_ratio)),
        (("", "published, Full HD [ms]"), published_time_text),
    ]
    heads, lines = laid_out(rows, columns, {"published ratio", "published, Full HD [ms]"})
    caption = (
        f"Accuracy beside speed on {dataset}: {frame_text(first['lr_height'], first['lr_width'], study)}, batch "
        f"{first['batch']}, {boundary_text(first['boundary'])}, on {first['device']}, "
        f"{plural(first['threads'], 'thread')}. Every way that was timed for several models, by time; PSNR of 8-bit "
        "pictures, whatever the precision."
    )
    return Section(" ".join([caption, *published_text(rows), facts]), heads, lines)


def psnr_from_text(row: Any) -> str:
    """Return where a PSNR is from: the origin of what was measured, or that it was published and how sure it is."""
    if not isinstance(row.psnr_from, str):
        return EMPTY
    if row.psnr_from == PUBLISHED_PSNR:
        return f"published ({row.psnr_source.partition(':')[0]})"
    return row.psnr_from.replace("-", " ")


def text_or_empty(value: Any) -> str:
    """Return a text, a dash where there is none."""
    return value if isinstance(value, str) else EMPTY


def published_time_text(row: Any) -> str:
    """Return a published time with the device it was measured on."""
    if pd.isna(row.published_ms):
        return EMPTY
    return f"{row.published_ms:g} (GPU {row.published_device})"


def published_text(rows: pd.DataFrame) -> list[str]:
    """Return the sources of the published values of a table, each with the models it is for."""
    sources: dict[str, list[str]] = {}
    columns = (("psnr_source", "PSNR"), ("published_source", "time"))
    for column, what in columns:
        for row in rows.drop_duplicates("model").dropna(subset=[column]).itertuples():
            sources.setdefault(getattr(row, column), []).append(f"{row.model} ({what})")
    if not sources:
        return []
    texts = [f"{', '.join(models)}: {source}" for source, models in sources.items()]
    text = "Published values (Q: read at the source, S: from a secondary source): "
    others = ""
    if (rows["degradation"].notna() & (rows["degradation"] != rows["panel"])).any():
        others = "A label with a blur names the input of that model, where it is another than the panel's. "
    return [f"{others}{text}{'; '.join(texts)}."]


# ---- cost curves -------------------------------------------------------------------------------


def cost_sections(costs: pd.DataFrame, study: dict[str, Any], facts: str) -> list[Section]:
    """Return one table per device and way: time and memory at every value, and the exponents of their growth."""
    sections = []
    keys = [column for column in CURVE_COLUMNS if column != "quantity"]
    for (device, threads, precision, mode, model), rows in costs.groupby(keys, sort=False, dropna=False):
        columns: list[Column] = [
            (("", "varied"), lambda row: QUANTITIES.get(row.quantity, (row.quantity,))[0]),
            (("", "value"), lambda row: f"{row.value:,g}" if row.value < 1e6 else f"{row.value:,.0f}"),
            (("", "LR frame"), lambda row: f"{row.lr_width}x{row.lr_height}"),
            (("time", "median [ms]"), lambda row: time_text(row.median_ms)),
            (("time", "exponent"), lambda row: number_text(row.time_exponent, 3, row.time_exponent_se)),
            (("time", "residual [%]"), lambda row: number_text(row.time_residual_percent, 1)),
            (("peak memory", "[MB]"), lambda row: count_text(row.peak_memory_mb)),
            (
                ("peak memory", "exponent"),
                lambda row: number_text(row.memory_exponent, 3, row.memory_exponent_se),
            ),
            (("peak memory", "residual [%]"), lambda row: number_text(row.memory_residual_percent, 1)),
            (("", "repeats"), lambda row: count_text(row.n_repeats)),
            (("", "remark"), lambda row: remark(row, False)),
        ]
        heads, lines = laid_out(rows, columns, {"remark"})
        caption = (
            f"Cost curves of {model}, {mode}, {precision}, on {device}, {plural(threads, 'thread')}. "
            f"{fixed_text(rows, study)} Time per output frame, per clip where its length is varied. "
            "Exponent: slope of the least-squares line through the logarithms of the medians, ± its standard "
            "error; residual: root mean square around the line."
        )
        sections.append(Section(f"{caption} {facts}", heads, lines))
    return sections


def fixed_text(costs: pd.DataFrame, study: dict[str, Any]) -> str:
    """Return what is held fixed while one quantity is varied."""
    model = costs["model"].iloc[0]
    spec = study.get("models", {}).get(model, {})
    size = [f"{spec[key]} {key}" for key in ("layers", "blocks", "filters") if key in spec]
    others = costs[costs["quantity"] != "lr_pixels"]
    frames = dict.fromkeys(f"LR {row.lr_width}x{row.lr_height}" for row in others.itertuples())
    told = ", ".join([model + (f" ({', '.join(size)})" if size else ""), *frames, "batch 1"])
    return f"One quantity is varied at a time, the rest held fixed at {told}."
