"""Models for tests: a small one of every architecture, and a class of a user's own."""

import torch
import torch.nn.functional as F
from torch import nn

from rlsp.models import build_model
from rlsp.models.base import VideoModel


class Own(VideoModel):
    """A user's model with a state: one convolution of the frame and of the last output, shuffled down."""

    def __init__(self, scale=4, output="y", input_range=255):
        super().__init__(scale=scale, output=output, look_behind=1, look_ahead=0, input_range=input_range)
        self.layer = nn.Conv2d(6 + self.colors * scale**2, self.colors * scale**2, 3, padding=1)

    def step(self, frames, carry):
        n, _, _, h, w = frames.shape
        if carry is None:
            carry = frames.new_zeros(n, self.layer.out_channels, h, w)
        packed = self.layer(torch.cat([self.to_range(frames).flatten(1, 2), carry], dim=1))
        return F.pixel_shuffle(self.from_range(packed.float()), self.scale), torch.tanh(packed)


SPECS = {
    "rlsp": {"arch": "rlsp", "layers": 3, "filters": 8},
    "rlsp-rgb": {"arch": "rlsp", "layers": 3, "filters": 8, "output": "rgb"},
    "rlsp-frames-only": {
        "arch": "rlsp", "layers": 3, "filters": 8, "adjacent": False, "feedback": False, "state": False,
    },
    "frvsr": {"arch": "frvsr", "blocks": 1, "filters": 8},
    "frvsr-y": {"arch": "frvsr", "blocks": 1, "filters": 8, "output": "y"},
    "duf": {"arch": "duf", "layers": 10, "filters": 4, "growth": 2},
    "duf-y": {"arch": "duf", "layers": 10, "filters": 4, "growth": 2, "output": "y"},
    "bicubic": {"arch": "bicubic", "phase": 0},
    "own": {"arch": "made_models:Own"},
}  # fmt: skip


def small(name, **changes):
    """Build one of `SPECS`, ready to restore; the same weights each time."""
    torch.manual_seed(0)
    return build_model({**SPECS[name], **changes}).eval()


def noise(frames=5, height=6, width=7, n=2):
    """Make clips (n, frames, 3, height, width) of noise in [0, 255]; the same each time."""
    return torch.rand(n, frames, 3, height, width, generator=torch.Generator().manual_seed(1)) * 255
