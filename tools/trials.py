"""Train narrow RLSP nets that differ in a few options, and collect what each change brought.

Such trials, minutes on one CPU core each, decided what the recipes of this repository hold: ``trials.yaml`` lists
them, :class:`Options` says what may differ. Data sets are read as the study's rules ``pack`` and ``degrade`` left them.
PSNR is that of luma in dB, the peak being the full range.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from rlsp.color import luma, rgb_to_y
from rlsp.config.checks import check_known
from rlsp.config.study import Study
from rlsp.data.clips import open_clips
from rlsp.data.degradation import phase
from rlsp.errors import ConfigError, one_line_errors
from rlsp.files import read_json, write_json, write_rows
from rlsp.models.shuffle import shuffle_down, shuffle_up
from rlsp.provenance import describe_environment
from rlsp.training.crops import TrainingCrops
from rlsp.training.validation import BORDER

TRIALS = Path(__file__).with_suffix(".yaml")
OPTIMIZERS = ("adam", "soap", "muon")
VARIANTS = ("frames", "adjacent", "feedback", "full")  # each sees what the one before it sees, and more
SCALE, PACKED = 4, 16  # and channels of the output at LR resolution
HEAD_SCALE = 0.1  # on the first weights of the output, as in the recipes
L1_SCALE = 0.05  # gradients of L1 are then those of MSE at an error of 0.025
LOG_EVERY = 200  # steps
FIXED = {"crop": 32, "frames": 10, "seed": 999}  # crops on which every trial is scored
FIXED_BATCHES, FIXED_SIZE = 16, 8
FLAT = 1e-6  # added to the error of each frame of a crop: flat ones count 60 dB at most
VALIDATED_FRAMES = 24  # of each clip
COLUMNS = (
    "name", "change", "seed", "steps", "lr_pixels", "optimizer", "seconds", "psnr_training", "psnr_fixed",
)  # fmt: skip
Carry = tuple[Tensor, ...]  # output (N, 16, h, w) and state (N, filters, h, w)
Pairs = dict[str, Any]  # what TrainingCrops wants to know of clips: lr_clips, hr_clips, scale, phase


def option(default: Any, words: str) -> Any:
    """Declare an option: its default, and what the table says of a trial that has another value."""
    return field(default=default, metadata={"words": words})


@dataclass(frozen=True)
class Options:
    """What a trial may change; a comment adds what the words leave out."""

    variant: str = option("full", "variant {}")
    layers: int = option(4, "{} layers")
    filters: int = option(24, "{} filters")
    seed: int = option(0, "seed {}")  # of weights and crops
    steps: int = option(3000, "{} steps")
    batch: int = option(4, "{} crops a step")
    crop: int = option(24, "crops of {} LR pixels a side")
    frames: int = option(8, "crops of {} frames")
    lengths: str = option("", "crops by after:frames:side {}")  # share of the steps; batch follows
    optimizer: str = option("soap", "{}")
    learning_rate: float = option(0.003, "learning rate {}")
    betas: Sequence[float] = option((0.95, 0.95), "decays {0[0]} and {0[1]}")
    warmup: float = option(0.05, "warm-up over {:.0%} of the steps")  # linear; a cosine follows
    clip: float = option(0.1, "gradient norm at most {}")
    carry: float = option(0.25, "carried inputs times {}")
    own_fan_in: bool = option(True, "frames drawn with the fan-in of all inputs")  # not with their own
    horizon: int = option(0, "gradient cut every {} frames")
    skip: int = option(0, "no loss on the first {} frames")
    continued: bool = option(False, "every second step has the next frames of the same crops")
    zero_state: bool = option(False, "columns of the state start at 0")
    identity: bool = option(False, "columns of the state start as half an identity")
    state_rate: float = option(1.0, "learning rate of the state's columns times {}")
    neighbours: float = option(1.0, "adjacent frames times {}")
    zero_neighbours: bool = option(False, "columns of the adjacent frames start at 0")
    ema: float = option(0.0, "weights averaged with decay {}")  # with less in the first steps
    l1: float = option(0.0, "L1 in the first {:.0%} of the steps")

    def describe_change(self) -> str:
        """Put into words what differs from the defaults, the seed apart."""
        pairs = [(known, getattr(self, known.name)) for known in fields(self) if known.name != "seed"]
        changed = [known.metadata["words"].format(value) for known, value in pairs if value != known.default]
        return "; ".join(changed) or "nothing"

    def shape_at(self, step: int) -> tuple[int, int]:
        """Frames of the crops of a step, and their LR pixels a side."""
        phases = [item.split(":") for item in self.lengths.split()] or [[0, self.frames, self.crop]]
        begun = [shape for after, *shape in phases if step >= round(float(after) * self.steps)]
        return int(begun[-1][0]), int(begun[-1][1])

    def rate_at(self, step: int) -> float:
        """Share of the learning rate at a step."""
        rising = round(self.warmup * self.steps)
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))


def read_trials(path: Path) -> dict[str, dict[str, Any]]:
    """Read the options of each trial that differ from the defaults; refuse unknown ones and a trial without ``why``."""
    kinds = {known.name: type(known.default) for known in fields(Options)}
    trials = yaml.safe_load(path.read_text())
    for name, changes in trials.items():
        if not changes.pop("why", None):
            raise ConfigError(f"{path}: {name}: expected a line why")
        for key, value in changes.items():
            check_known(f"{path}: {name}", key, kinds)
            if not isinstance(value, {float: (int, float), tuple: list}.get(kinds[key], kinds[key])):
                raise ConfigError(f"{path}: {name}.{key}: expected {kinds[key].__name__}, got {value!r}")
        check_known(f"{path}: {name}.variant", changes.get("variant", "full"), VARIANTS)
        check_known(f"{path}: {name}.optimizer", changes.get("optimizer", "soap"), OPTIMIZERS)
    return trials


class TrialNet(nn.Module):
    """RLSP on [0, 1]; an optimiser sees the columns of frames, output and state as weights of their own.

    All variants draw the same numbers (He et al. 2015).
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options, filters, rank = options, options.filters, VARIANTS.index(options.variant)
        self.seen = slice(0, 9) if rank else slice(3, 6)  # of the channels of three frames
        inputs = (9 if rank else 3) + PACKED * (rank > 1) + filters * (rank > 2)
        generator = torch.Generator().manual_seed(options.seed)

        def draw(outputs: int, columns: int, fan_in: int) -> Tensor:
            drawn = torch.randn(outputs, columns, 3, 3, generator=generator)
            return drawn * math.sqrt(2 / (9 * fan_in))

        frames, feedback, state = draw(filters, 9 + PACKED + filters, inputs).split([9, PACKED, filters], 1)
        if options.own_fan_in:
            is_one = rank == 0 or options.neighbours != 1 or options.zero_neighbours
            frames = frames * math.sqrt(inputs / (3 if is_one else 9))
        if options.zero_neighbours:
            frames[:, :3] = frames[:, 6:] = 0
        if options.zero_state or options.identity:
            state.zero_()
        if options.identity:
            state[:, :, 1, 1].fill_diagonal_(0.5)
        self.frames = nn.Parameter(frames[:, self.seen].clone())
        self.feedback = nn.Parameter(feedback.clone()) if rank > 1 else None
        self.state = nn.Parameter(state.clone()) if rank > 2 else None
        self.first_bias = nn.Parameter(torch.zeros(filters))
        self.body = nn.ParameterList(draw(filters, filters, filters) for _ in range(options.layers - 2))
        self.body_biases = nn.ParameterList(torch.zeros(filters) for _ in self.body)
        self.output = nn.Parameter(draw(PACKED, filters, filters) * HEAD_SCALE)
        self.output_bias = nn.Parameter(torch.zeros(PACKED))
        self.next_state = nn.Parameter(draw(filters, filters, filters)) if rank > 2 else None
        self.next_bias = nn.Parameter(torch.zeros(filters)) if rank > 2 else None

    def cell(self, frames: Tensor, base: Tensor, carry: Carry) -> Carry:
        """Run one step at LR resolution; see :meth:`rlsp.models.rlsp.RLSP.cell`."""
        columns = _present(self.frames, self.feedback, self.state)
        parts = [frames, *(part * self.options.carry for part in carry)][: len(columns)]
        x = torch.cat(parts, 1).contiguous(memory_format=torch.channels_last)
        x = F.relu(F.conv2d(x, torch.cat(columns, 1), self.first_bias, padding=1))
        for weight, bias in zip(self.body, self.body_biases, strict=True):
            x = F.relu(F.conv2d(x, weight, bias, padding=1))
        weight = torch.cat(_present(self.output, self.next_state))
        x = F.conv2d(x, weight, torch.cat(_present(self.output_bias, self.next_bias)), padding=1)
        return x[:, :PACKED] + base, F.relu(x[:, PACKED:])

    def forward(self, lr: Tensor, carry: Carry | None = None) -> tuple[Tensor, Carry]:
        """Restore luma (N, T, 16, h, w) in [0, 1], shuffled down, of RGB frames (N, 1 + T + 1, 3, h, w) in [0, 1].

        Also returns what is carried on; at the start of a clip these are zeros.
        """
        n, frames, _, h, w = lr.shape
        horizon, beside = self.options.horizon, self.options.neighbours
        carry = carry or (lr.new_zeros(n, PACKED, h, w), lr.new_zeros(n, self.options.filters, h, w))
        base, factors = luma(lr * 255) / 255, lr.new_tensor([beside, 1, beside]).view(3, 1, 1, 1)
        outputs = []
        for t in range(1, frames - 1):
            if horizon and t > 1 and (t - 1) % horizon == 0:
                carry = tuple(part.detach() for part in carry)
            three = (lr[:, t - 1 : t + 2] * factors).flatten(1, 2)
            carry = self.cell(three[:, self.seen], base[:, t], carry)
            outputs.append(carry[0])
        return torch.stack(outputs, 1), carry


def _present(*weights: nn.Parameter | None) -> list[nn.Parameter]:
    """List the weights that a variant has."""
    return [weight for weight in weights if weight is not None]


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal, as matrices of filters by inputs (Jordan et al. 2024; size: Liu et al. 2025)."""

    def __init__(self, kernels: list[nn.Parameter], learning_rate: float) -> None:
        super().__init__(kernels, {"lr": learning_rate, "momentum": 0.95})

    @torch.no_grad()
    def step(self) -> None:
        """Change the kernels by about as much as Adam would."""
        for group in self.param_groups:
            for kernel in group["params"]:
                mean = self.state[kernel].setdefault("mean", torch.zeros_like(kernel))
                mean.mul_(group["momentum"]).add_(kernel.grad)
                x = (kernel.grad + group["momentum"] * mean).flatten(1)
                x = x / (x.norm() + 1e-12)
                for _ in range(5):  # Newton-Schulz, coefficients of the authors
                    a = x @ x.T
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
                x = x * 0.2 * math.sqrt(max(x.shape))
                kernel.add_(x.view_as(kernel), alpha=-group["lr"])


def make_optimizers(net: TrialNet, options: Options) -> list[torch.optim.Optimizer]:
    """Build the optimisers; Muon takes the kernels between the first layer and the output, Adam the rest."""
    kernels = _present(*net.body, net.next_state) if options.optimizer == "muon" else []
    state, apart = _present(net.state), {id(kernel) for kernel in (*kernels, net.state)}
    groups: list[dict] = [{"params": [p for p in net.parameters() if id(p) not in apart]}]
    groups += [{"params": state, "lr": options.learning_rate * options.state_rate}] if state else []
    settings = {"lr": options.learning_rate, "betas": tuple(options.betas), "weight_decay": 0.0}
    if options.optimizer == "soap":
        from pytorch_optimizer import SOAP  # slow to import

        return [SOAP(groups, **settings)]
    adam = torch.optim.Adam(groups, **settings)
    return [adam, *([Muon(kernels, options.learning_rate)] if options.optimizer == "muon" else [])]


def read_pairs(study: Study, degradation: str, names: list[str]) -> Pairs:
    """Open data sets that are packed and degraded."""
    lr, hr = {}, {}  # by data set and clip, as in held/cows
    for name in names:
        check_known("data set", name, study.spec.datasets)
        for clips, manifest in ((lr, study.lr(degradation, name)), (hr, study.clips(name))):
            clips |= {f"{name}/{clip}": frames for clip, frames in open_clips(manifest).items()}
    return {"lr_clips": lr, "hr_clips": hr, "phase": phase(study.degradation(degradation)), "scale": SCALE}


def draw_crops(pairs: Pairs, **options: Any) -> TrainingCrops:
    """Draw crops that have a neighbour at both ends."""
    return TrainingCrops(**pairs, behind=1, ahead=1, **options)


def draw_batches(options: Options, pairs: Pairs) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Yield the LR and HR crops of each step, and whether they go on from those of the step before."""
    later, augment = None, ("flip", "transpose", "reverse")
    for step in range(options.steps):
        if later is not None:
            yield *later, True
            later = None
            continue
        frames, crop = options.shape_at(step)
        drawn = frames * (2 if options.continued else 1)
        crops = draw_crops(pairs, crop=crop, frames=drawn, seed=options.seed, augment=augment)
        pixels = options.batch * options.crop**2 * options.frames
        lr, hr = crops.batch(step, max(1, round(pixels / (crop**2 * frames))))
        later = (lr[:, frames:], hr[:, frames:]) if options.continued else None
        yield lr[:, : frames + 2], hr[:, :frames], False


def packed_luma(hr: Tensor) -> Tensor:
    """Luma in [0, 1] of HR crops (N, T, 3, H, W), 0..255, shuffled down to (N, T, 16, h, w)."""
    return shuffle_down(luma(hr.float()), SCALE) / 255


def train(net: TrialNet, options: Options, pairs: Pairs) -> dict[str, Any]:
    """Train a net, until it diverges if it does; returns windows of steps, LR pixels seen and CPU seconds."""
    optimizers, average = make_optimizers(net, options), [p.detach().clone() for p in net.parameters()]
    started, carry, lr_pixels, windows, window = time.process_time(), None, 0, [], []
    for step, (lr, hr, is_continued) in enumerate(draw_batches(options, pairs)):
        outputs, carry = net(lr.float() / 255, carry if is_continued else None)
        carry = tuple(part.detach() for part in carry)
        error = (outputs - packed_luma(hr))[:, options.skip :]
        mse = (error**2).mean()
        net.zero_grad()
        (error.abs().mean() * L1_SCALE if step < options.l1 * options.steps else mse).backward()
        norm = nn.utils.clip_grad_norm_(net.parameters(), options.clip)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("peak", group["lr"]) * options.rate_at(step)
            optimizer.step()
        decay = min(options.ema, (step + 1) / (step + 10))  # 0: the weights themselves
        for mean, parameter in zip(average, net.parameters(), strict=True):
            mean.lerp_(parameter.detach(), 1 - decay)
        lr_pixels += lr[:, 1:-1, 0].numel()
        window.append((mse.item(), float(norm > options.clip)))
        if not window[-1][0] <= 1:  # or not a number
            break
        if (step + 1) % min(LOG_EVERY, options.steps) == 0:
            error, clipped = np.mean(window, axis=0).tolist()
            windows.append({"step": step + 1, "psnr": to_psnr(error), "clipped": clipped})
            window = []
    for mean, parameter in zip(average, net.parameters(), strict=True):
        parameter.data.copy_(mean)
    return {"windows": windows, "lr_pixels": lr_pixels, "seconds": time.process_time() - started}


def to_psnr(mse: Any) -> Any:
    """PSNR in dB of a mean squared error, or a list of those of an array; the peak is 1."""
    return (-10 * np.log10(np.asarray(mse, dtype=np.float64))).tolist()


@torch.no_grad()
def score_crops(net: TrialNet, crops: TrainingCrops) -> dict[str, Any]:
    """PSNR on crops by number of the frame and in all: mean over crops, and of the error of all crops together."""
    errors = []
    for number in range(FIXED_BATCHES):
        lr, hr = crops.batch(number, FIXED_SIZE)
        errors.append(((net(lr.float() / 255)[0] - packed_luma(hr)) ** 2).mean((2, 3, 4)))
    error = torch.cat(errors).numpy()  # (crops, frames)
    frames = np.mean(to_psnr(error + FLAT), axis=0).tolist()
    pooled = {"pooled_psnr": to_psnr(error.mean()), "pooled_psnr_frames": to_psnr(error.mean(0))}
    return {"psnr": float(np.mean(frames)), "psnr_frames": frames, **pooled}


@torch.no_grad()
def measure_state(net: TrialNet, crops: TrainingCrops) -> dict[str, Any]:
    """Mean square of the state after crops, the share of it that is its mean over pixels, and channels that are 0."""
    state = net(crops.batch(99, 16)[0].float() / 255)[1][1]
    power, of_mean = float((state**2).mean()), float((state.mean((2, 3)) ** 2).mean())
    dead = int((state.amax((0, 2, 3)) == 0).sum())
    return {"power": power, "mean_share": of_mean / power if power else 0, "dead_channels": dead}


@torch.no_grad()
def validate(net: TrialNet, pairs: Pairs) -> dict[str, list[float]]:
    """PSNR of 8-bit luma, the border left out, on each of the first frames of each clip."""
    psnr = {}
    for name in sorted(pairs["hr_clips"]):
        lr, hr = (np.array(pairs[side][name][:VALIDATED_FRAMES]) for side in ("lr_clips", "hr_clips"))
        lr = torch.from_numpy(lr).permute(0, 3, 1, 2).float() / 255
        outputs, _ = net(torch.cat([lr[:1], lr, lr[-1:]])[None])
        sr = (shuffle_up(outputs[0], SCALE)[:, 0] * 255).clamp(0, 255).round().numpy()
        error = (sr - rgb_to_y(hr))[:, BORDER:-BORDER, BORDER:-BORDER]
        psnr[name] = to_psnr((error**2).mean((1, 2)) / 255**2)
    return psnr


def run_trial(options: Options, training: Pairs, validation: Pairs) -> dict[str, Any]:
    """Train a net and measure it."""
    net = TrialNet(options).to(memory_format=torch.channels_last)
    result = train(net, options, training)
    crops = draw_crops(training, **FIXED)
    result |= {"fixed": score_crops(net, crops), "validation": validate(net, validation)}
    return result | ({"state": measure_state(net, crops)} if net.state is not None else {})


def run_trials(args: argparse.Namespace) -> None:
    """Run the trials whose results are not there yet, or are of other options or data."""
    torch.set_num_threads(1)  # several run side by side
    torch.set_flush_denormal(True)
    study, trials = Study.from_file(*args.study), read_trials(args.trials)
    check_known("degradation", args.degradation, study.spec.degradations)
    for name in args.names:
        check_known("trial", name, trials)
    training, validation = (read_pairs(study, args.degradation, sets) for sets in (args.train, args.validate))
    sides = {"train": args.train, "validate": args.validate}
    places = {key: [study.lr(args.degradation, name).parent for name in sets] for key, sets in sides.items()}
    data = {key: [f"{place.parent.name}/{place.name}" for place in found] for key, found in places.items()}
    for name in args.names or trials:
        path, wanted = args.output / f"{name}.json", {"name": name, "options": trials[name], "data": data}
        if not path.exists() or not wanted.items() <= read_json(path).items():
            result = run_trial(Options(**trials[name]), training, validation)
            write_json(path, {**wanted, "environment": describe_environment(), **result})
            print(f"{name}: {result['seconds']:.0f} s", flush=True)


def read_row(path: Path) -> dict[str, Any]:
    """Make the row of a trial from its result."""
    result = read_json(path)
    options, psnr = Options(**result["options"]), {"psnr_fixed": result["fixed"]["psnr"]}
    if result["windows"]:
        psnr["psnr_training"] = result["windows"][-1]["psnr"]
    for name in {clip.partition("/")[0] for clip in result["validation"]}:
        clips = [frames for clip, frames in result["validation"].items() if clip.startswith(f"{name}/")]
        psnr[f"psnr_{name}"] = float(np.mean([np.mean(frames) for frames in clips]))
    row = {**vars(options), **result, **{key: round(value, 3) for key, value in psnr.items()}}
    return {**row, "change": options.describe_change(), "seconds": round(result["seconds"], 1)}


def write_table(args: argparse.Namespace) -> None:
    """Collect the results of a folder into one CSV file, a column for each validation set."""
    rows = [read_row(path) for path in sorted(args.folder.glob("*.json"))]
    sets = sorted({key for row in rows for key in row if key.startswith("psnr_")} - set(COLUMNS))
    write_rows(args.output, [*COLUMNS, *sets], rows)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="train and measure, a JSON file for each trial")
    run.add_argument("names", nargs="*", metavar="name", help="of trials (default: all)")
    run.add_argument("--study", type=Path, action="append", required=True, metavar="FILE")
    run.add_argument("--train", nargs="+", required=True, metavar="SET", help="data sets of the study")
    run.add_argument("--validate", nargs="+", required=True, metavar="SET", help="further ones, held out")
    run.add_argument("--degradation", default="gaussian", metavar="NAME", help="default: gaussian")
    run.add_argument("--trials", type=Path, default=TRIALS, metavar="FILE", help="default: those listed here")
    run.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    run.set_defaults(command=run_trials)
    table = commands.add_parser("table", help="collect the results of a folder into one CSV file")
    table.add_argument("folder", type=Path)
    table.add_argument("--output", type=Path, required=True, metavar="CSV")
    table.set_defaults(command=write_table)
    args = parser.parse_args()
    with one_line_errors():
        args.command(args)


if __name__ == "__main__":
    main()
