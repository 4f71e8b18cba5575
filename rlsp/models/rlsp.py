r"""Recurrent Latent Space Propagation (Fuoli, Gu, Timofte, ICCVW 2019), section 3.

For frame t, with x the LR frames, h the hidden state and z the output at LR resolution,

.. math::

    [d_t, g_t] &= f_n(\ldots f_1([x_{t-1}, x_t, x_{t+1}, z_{t-1}, h_{t-1}])) \\
    z_t &= d_t + x_t^* \qquad h_t = \mathrm{ReLU}(g_t) \qquad y_t = \mathrm{shuffle\_up}(z_t)

where f_1 .. f_{n-1} are 3x3 convolutions with ReLU, f_n is one without, and x* is the current frame repeated
for each sub-pixel (nearest-neighbour up-sampling once it is shuffled up). The paper feeds back
shuffle_down(y_{t-1}); that is z_{t-1}, so the recurrence never leaves LR resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlsp.color import luma
from rlsp.models.base import ChannelGroups, VideoModel, in_layout_of, in_precision_of_convolutions
from rlsp.models.shuffle import shuffle_down, shuffle_up


class RLSP(VideoModel):
    """The RLSP cell, with a switch for each of its ingredients.

    Parameters
    ----------
    layers : int
        Number n of convolutions from input to output, at least 2.
    filters : int
        Filters f of each convolution, and channels of the hidden state.
    output : {"y", "rgb"}
        "y": luma as in the paper; "rgb": as in the released PyTorch code.
    scale : int
        Up-scaling factor.
    adjacent : bool
        See frames t-1 and t+1 besides t.
    feedback : bool
        See the previous output.
    state : bool
        Propagate a hidden state.
    residual : bool
        Add the network's output to the nearest-neighbour up-sampled frame.
    input_range : float
        The network works on [0, input_range]; the paper's is 255.

    References
    ----------
    .. [1] D. Fuoli, S. Gu, R. Timofte, "Efficient Video Super-Resolution through Recurrent Latent Space
       Propagation", ICCVW 2019. https://doi.org/10.1109/ICCVW.2019.00431
    """

    def __init__(
        self,
        *,
        layers: int,
        filters: int,
        output: str,
        scale: int,
        adjacent: bool,
        feedback: bool,
        state: bool,
        residual: bool,
        input_range: float,
    ) -> None:
        neighbours = 1 if adjacent else 0
        super().__init__(
            scale=scale,
            output=output,
            look_behind=neighbours,
            look_ahead=neighbours,
            input_range=input_range,
        )
        if layers < 2:
            raise ValueError(f"layers: expected at least 2, got {layers}")
        self.feedback, self.residual = feedback, residual
        self.packed = self.colors * scale**2  # channels of the output at LR resolution
        self.state_channels = filters if state else 0
        inputs = 3 * (1 + 2 * neighbours) + (self.packed if feedback else 0) + self.state_channels
        widths = [inputs] + [filters] * (layers - 1)
        self.body = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.head = nn.Conv2d(filters, self.packed + self.state_channels, 3, padding=1)

    def cell(
        self, frames: Tensor, base: Tensor, carry: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Run one step at LR resolution, on the model's own input range.

        Parameters
        ----------
        frames : Tensor, shape (N, 3 F, h, w)
            The F = 1 or 3 LR frames in order of time.
        base : Tensor, shape (N, packed, h, w) or (N, 1, h, w)
            What the residual is added to: x* of the paper.
        carry : (Tensor, Tensor) or None
            Previous output (N, packed, h, w) and hidden state (N, state_channels, h, w); None means zeros.

        Returns
        -------
        output : Tensor, shape (N, packed, h, w)
        state : Tensor, shape (N, state_channels, h, w)
        """
        if carry is None:
            n, _, h, w = frames.shape
            carry = frames.new_zeros(n, self.packed, h, w), frames.new_zeros(n, self.state_channels, h, w)
        feedback, state = carry
        parts = [frames, *([feedback] if self.feedback else []), state]
        x = torch.cat([in_precision_of_convolutions(part) for part in parts], dim=1)
        x = in_layout_of(x, self.body[0].weight)
        for convolution in self.body:
            x = F.relu_(convolution(x))
        output, state = self.head(x).split([self.packed, self.state_channels], dim=1)
        output = output.float()  # fp32 under autocast: bf16 has steps of 1 at 128..255
        return (output + base if self.residual else output), F.relu(state)

    def base(self, frames: Tensor) -> Tensor:
        """Make x* of LR frames (..., 3, h, w) in [0, 255]: what each sub-pixel starts from, on the input range.

        Returns
        -------
        Tensor, shape (..., packed, h, w) or, where all sub-pixels are equal, (..., 1, h, w)
        """
        if self.output == "rgb":
            return self.to_range(torch.cat([frames] * self.scale**2, dim=-3))
        return self.to_range(luma(frames))

    def step(self, frames: Tensor, carry: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple]:
        """Restore one frame; see :meth:`VideoModel.step`."""
        base = self.base(frames[:, self.look_behind])
        carry = self.cell(self.to_range(frames).flatten(1, 2), base, carry)
        return shuffle_up(self.from_range(carry[0]), self.scale), carry

    def loss(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Mean squared error, taken at LR resolution: shuffling down only reorders the terms of the mean."""
        clip = lr if lr.shape[1] != hr.shape[1] else self.pad_clip(lr)
        windows = torch.cat([window.flatten(1, 2) for window in self.windows(self.to_range(clip))])
        windows = in_layout_of(in_precision_of_convolutions(windows), self.body[0].weight)
        bases = self.base(clip[:, self.look_behind : clip.shape[1] - self.look_ahead])
        carry, outputs = None, []
        for t, frames in enumerate(windows.split(len(clip))):
            carry = self.cell(frames, bases[:, t], carry)
            outputs.append(carry[0])
        target = shuffle_down(self.target(hr), self.scale)
        return F.mse_loss(self.from_range(torch.stack(outputs, dim=1)), target)

    def carried_inputs(self) -> tuple[nn.Conv2d | None, slice]:
        """Name the first layer, and the previous output and the state among its inputs."""
        frames = 3 * (self.look_behind + 1 + self.look_ahead)
        return (self.body[0] if self.feedback or self.state_channels else None), slice(frames, None)

    def channel_groups(self) -> dict[str, ChannelGroups]:
        """Say what the inputs and outputs of each layer are."""
        frames = [("previous", 3), ("current", 3), ("next", 3)] if self.look_behind else [("current", 3)]
        feedback = [("feedback", self.packed)] if self.feedback else []
        state = [("state", self.state_channels)] if self.state_channels else []
        features = [("features", self.head.in_channels)]
        groups = {f"body.{i}": (features, features) for i in range(1, len(self.body))}
        groups["body.0"] = ([*frames, *feedback, *state], features)
        groups["head"] = (features, [("output", self.packed), *state])
        return groups

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiply the filters of the head that make the output; those that make the state stay."""
        self.head.weight[: self.packed] *= factor
