"""Begin a training with the weights of another one, of the same model or of one that it contains."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from rlsp.errors import ConfigError
from rlsp.models.base import ChannelGroups, VideoModel
from rlsp.models.weights import load_weights


def start_from(model: VideoModel, path: Path, *, trusted_arch: str | None = None) -> None:
    """Set a model's first weights to those of a file.

    A model that has more than the file's, such as a hidden state or wider layers, computes the same at first: what
    is new keeps its drawn weights and is read by weights of zero.

    Parameters
    ----------
    model : VideoModel
        Changed in place; its weights are drawn already.
    path : Path
        Weights as :func:`rlsp.models.weights.save_weights` writes them.
    trusted_arch : str, optional
        See :func:`rlsp.models.weights.load_weights`.

    Raises
    ------
    ConfigError
        The model does not contain that of the file.
    """
    source, _ = load_weights(path, trusted_arch=trusted_arch)
    try:
        _grow(model, source)
    except _Misfit as misfit:
        raise ConfigError(f"start_from: {path}: {misfit}") from None


class _Misfit(Exception):
    """Why a model does not contain another."""


def _grow(model: VideoModel, source: VideoModel) -> None:
    if type(model) is not type(source):
        raise _Misfit(f"expected weights of {type(model).__name__}, got {type(source).__name__}")
    for key in ("scale", "output", "input_range", "residual"):
        ours, theirs = (getattr(one, key, None) for one in (model, source))
        if ours != theirs:
            raise _Misfit(f"expected weights of {key} {ours}, got {theirs}")
    groups, theirs = model.channel_groups(), source.channel_groups()
    if not groups:
        _copy_all(model, source)
        return
    if set(groups) != set(theirs):
        raise _Misfit(f"expected weights of {len(groups)} layers, got {len(theirs)}")
    for name in groups:
        _grow_layer(model.get_submodule(name), source.get_submodule(name), groups[name], theirs[name])


def _copy_all(model: VideoModel, source: VideoModel) -> None:
    ours, theirs = model.state_dict(), source.state_dict()
    for name in ours | theirs:
        expected, found = (tuple(one[name].shape) if name in one else None for one in (ours, theirs))
        if expected != found:
            raise _Misfit(f"expected {name} of shape {expected}, got {found}")
    model.load_state_dict(theirs)


@torch.no_grad()
def _grow_layer(layer: nn.Module, source: nn.Module, ours: ChannelGroups, theirs: ChannelGroups) -> None:
    """Copy a convolution's weights to where they belong; what they do not read counts zero for them."""
    (inputs, outputs), (old_inputs, old_outputs) = (
        [_places(side, other) for side, other in zip(one, another, strict=True)]
        for one, another in ((ours, theirs), (theirs, ours))
    )
    for side, old in ((ours[0], theirs[0]), (ours[1], theirs[1])):
        for name, count in old:
            if count > dict(side).get(name, 0):
                raise _Misfit(
                    f"expected weights of at most {dict(side).get(name, 0)} {name} channels, got {count}"
                )
    rows, columns = torch.tensor(outputs), torch.tensor(inputs)
    weight: Tensor = layer.weight
    weight[rows] = 0
    block = source.weight[torch.tensor(old_outputs)][:, torch.tensor(old_inputs)]
    weight[rows[:, None], columns[None]] = block.to(weight.device)
    layer.bias[rows] = source.bias[torch.tensor(old_outputs)].to(layer.bias.device)


def _places(ours: Sequence[tuple[str, int]], theirs: Sequence[tuple[str, int]]) -> list[int]:
    """List where, among our channels, those lie that both have, group by group."""
    counts, places, start = dict(theirs), [], 0
    for name, count in ours:
        places += range(start, start + min(count, counts.get(name, 0)))
        start += count
    return places
