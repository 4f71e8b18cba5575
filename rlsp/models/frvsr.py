r"""Frame-Recurrent Video Super-Resolution (Sajjadi, Vemulapalli, Brown, CVPR 2018), as its poster draws it.

For frame t, with x the LR frames and y the estimates at HR resolution,

.. math::

    F_t &= \mathrm{FNet}(x_{t-1}, x_t) \qquad \hat y_{t-1} = \mathrm{warp}(y_{t-1}, \mathrm{up}(F_t)) \\
    y_t &= \mathrm{SRNet}([x_t, \mathrm{shuffle\_down}(\hat y_{t-1})])

FNet sees two LR frames and gives the optical flow from t to t-1, in LR pixels: F_t(p) says how far from p the
content of frame t at p is in frame t-1. The estimate before the first frame is black, as in the paper.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlsp.models.base import VideoModel, in_layout_of
from rlsp.models.shuffle import shuffle_down

STRIDE = 8  # FNet halves its input three times


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Fetch each pixel from where the flow points to, between pixels bilinearly.

    Beyond the frame its edge pixels go on.

    Parameters
    ----------
    frames : Tensor, shape (N, C, h, w)
    flow : Tensor, shape (N, 2, h, w)
        Columns, then rows, in pixels: the result at (row, column) is the frame at (row + flow[1],
        column + flow[0]), so that a flow of (1, 0) moves the picture one pixel to the left.

    Returns
    -------
    Tensor, shape (N, C, h, w), float32
    """
    _, _, height, width = frames.shape
    flow = flow.float()  # bf16 has steps of 1 above 128: no coordinates for a warp
    columns = torch.arange(width, device=flow.device) + flow[:, 0]
    rows = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    # grid_sample's coordinates without align_corners: -1 and 1 are the outer edges of the border pixels
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    return F.grid_sample(frames.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def upsample_flow(flow: Tensor, scale: int) -> Tensor:
    """Enlarge a flow (N, 2, h, w) bilinearly and express it in the larger pixels, in float32.

    The pixels are areas (``align_corners=False``): LR pixel 0 sits on HR coordinate (scale - 1) / 2.
    """
    return scale * F.interpolate(flow.float(), scale_factor=scale, mode="bilinear", align_corners=False)


def pair(inputs: int, outputs: int) -> list[nn.Module]:
    """Two 3x3 convolutions with leaky ReLU, as in each level of FNet."""
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.LeakyReLU(0.2),
    ]


class FNet(nn.Sequential):
    """Optical flow, between -1 and 1, of two RGB frames stacked to 6 channels; sides are multiples of 8."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in ((6, 32), (32, 64), (64, 128)):
            layers += [*pair(inputs, outputs), nn.MaxPool2d(2)]
        for inputs, outputs in ((128, 256), (256, 128), (128, 64)):
            up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            layers += [*pair(inputs, outputs), up]
        layers += [nn.Conv2d(64, 32, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(32, 2, 3, padding=1)]
        super().__init__(*layers, nn.Tanh())


class ResidualBlock(nn.Module):
    """Convolution, ReLU, convolution, and the input added; no normalisation."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(filters, filters, 3, padding=1)
        self.second = nn.Conv2d(filters, filters, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, filters, h, w) to the same shape."""
        return x + self.second(F.relu(self.first(x)))


class SRNet(nn.Sequential):
    """From the LR frame and the packed previous estimate to the HR frame; the poster draws no skip around it."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, filters: int, scale: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(inputs, filters, 3, padding=1), nn.ReLU()]
        layers += [ResidualBlock(filters) for _ in range(blocks)]
        for _ in range(scale.bit_length() - 1):  # each doubles the resolution
            double = nn.ConvTranspose2d(filters, filters, 3, stride=2, padding=1, output_padding=1)
            layers += [double, nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(filters, outputs, 3, padding=1))


class FRVSR(VideoModel):
    """FRVSR with n residual blocks of f filters, trained with the losses of the picture and of the flow.

    FNet wants multiples of 8: the bottom and right borders of its input are repeated up to one, and its flow
    is cut back. SRNet takes any size.

    Parameters
    ----------
    blocks : int
        Residual blocks n of SRNet; the paper has 3, 5 and 10.
    filters : int
        Filters f of SRNet; the paper has 64 and 128.
    output : {"rgb", "y"}
        "rgb" as in the paper, or luma.
    scale : int
        Up-scaling factor, a power of 2.
    max_flow : float
        Largest flow of each direction, in LR pixels: what the output of tanh is multiplied by. The paper's
        flow is relative to the size of the frame, so that the same motion is another number on a crop and on
        a frame; the known re-implementations (TecoGAN, TecoGAN-PyTorch) count pixels, up to 24.
    warp_loss : float
        Weight of the loss of the flow beside that of the picture, each a mean over its pixels.
    input_range : float
        The network works on [0, input_range]; the paper's is 1.

    Raises
    ------
    ValueError
        The scale is not a power of 2, or there is no block or filter.

    References
    ----------
    .. [1] M. S. M. Sajjadi, R. Vemulapalli, M. Brown, "Frame-Recurrent Video Super-Resolution", CVPR 2018.
       https://arxiv.org/abs/1801.04590
    """

    def __init__(
        self,
        *,
        blocks: int,
        filters: int,
        output: str,
        scale: int,
        max_flow: float,
        warp_loss: float,
        input_range: float,
    ) -> None:
        super().__init__(scale=scale, output=output, look_behind=0, look_ahead=0, input_range=input_range)
        if scale < 2 or scale & (scale - 1):
            raise ValueError(f"scale: expected a power of 2, got {scale}")
        if min(blocks, filters) < 1:
            raise ValueError(f"blocks and filters: expected at least 1, got {blocks} and {filters}")
        self.max_flow, self.warp_loss = max_flow, warp_loss
        self.fnet = FNet()
        self.srnet = SRNet(
            3 + self.colors * scale**2, self.colors, blocks=blocks, filters=filters, scale=scale
        )

    def flow(self, previous: Tensor, current: Tensor) -> Tensor:
        """Estimate the flow from the current to the previous LR frame.

        Parameters
        ----------
        previous, current : Tensor, shape (N, 3, h, w)
            On the input range.

        Returns
        -------
        Tensor, shape (N, 2, h, w), float32
            Columns, then rows, in LR pixels.
        """
        _, _, h, w = current.shape
        frames = F.pad(torch.cat([previous, current], dim=1), (0, -w % STRIDE, 0, -h % STRIDE), "replicate")
        flow = self.fnet(in_layout_of(frames, self.fnet[0].weight))
        return self.max_flow * flow[:, :, :h, :w].float()

    def restore(self, frame: Tensor, estimate: Tensor, flow: Tensor) -> Tensor:
        """Restore a frame from the estimate of the one before, on the input range.

        Parameters
        ----------
        frame : Tensor, shape (N, 3, h, w)
            LR.
        estimate : Tensor, shape (N, colors, scale * h, scale * w)
            Previous HR estimate.
        flow : Tensor, shape (N, 2, h, w)
            From :meth:`flow`.

        Returns
        -------
        Tensor, shape (N, colors, scale * h, scale * w), float32
        """
        warped = warp(estimate, upsample_flow(flow, self.scale))
        x = torch.cat([frame, shuffle_down(warped, self.scale)], dim=1)
        return self.srnet(in_layout_of(x, self.srnet[0].weight)).float()

    def carried_inputs(self) -> tuple[nn.Conv2d | None, slice]:
        """Name the first layer of SRNet, and the warped previous output among its inputs."""
        return self.srnet[0], slice(3, None)

    def black(self, frame: Tensor) -> Tensor:
        """Make the estimate before the first LR frame ``(N, 3, h, w)``: zeros."""
        n, _, h, w = frame.shape
        return frame.new_zeros(n, self.colors, self.scale * h, self.scale * w)

    def step(
        self, frames: Tensor, carry: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Restore one frame; the carry is the previous LR frame and HR estimate.

        Before the first frame both are black, and a black estimate stays black wherever the flow points to.
        """
        frame = self.to_range(frames[:, 0])
        previous, estimate = (torch.zeros_like(frame), self.black(frame)) if carry is None else carry
        estimate = self.restore(frame, estimate, self.flow(previous, frame))
        return self.from_range(estimate), (frame, estimate)

    def loss(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Sum of the paper's two losses in squared grey levels.

        The mean squared error of the output and ``warp_loss`` times that of each LR frame warped to the next
        one; the log's PSNR is that of the sum, so a little lower than the picture's.
        """
        clip = self.to_range(lr)
        n, frames = clip.shape[:2]
        estimate, estimates = self.black(clip[:, 0]), []
        flows = clip.new_zeros(n, frames, 2, *clip.shape[3:])
        warp_error = clip.new_zeros(())
        if frames > 1:
            previous, current = clip[:, :-1].flatten(0, 1), clip[:, 1:].flatten(0, 1)
            flow = self.flow(previous, current)  # all pairs at once
            flows = torch.cat([flows[:, :1], flow.unflatten(0, (n, frames - 1))], dim=1)
            warp_error = F.mse_loss(self.from_range(warp(previous, flow)), self.from_range(current))
        for t in range(frames):
            estimate = self.restore(clip[:, t], estimate, flows[:, t])
            estimates.append(estimate)
        error = F.mse_loss(self.from_range(torch.stack(estimates, dim=1)), self.target(hr))
        return error + self.warp_loss * warp_error

    @torch.no_grad()
    def scale_output(self, factor: float) -> None:
        """Multiply the filters of the last convolution of SRNet."""
        self.srnet[-1].weight *= factor
