"""From what a model puts out to 8-bit pictures, on the device that it runs on."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rlsp.color import rgb_to_ycbcr, ycbcr_to_rgb
from rlsp.devices import matrix_precision
from rlsp.models.bicubic import bicubic_taps

RADIUS = 2  # LR pixels on each side that a cubic kernel at any phase reaches


class PictureMaker:
    """Rounds restored frames to 8 bits, and gives a restored luma the colours of its LR frame.

    The chroma of the LR frame is bicubically up-sampled at the right phase. That and the conversion to RGB are
    linear, so that together they are one 5x5 convolution from the LR frame to what the chroma adds to the R, G and B
    of each sub-pixel; the luma adds its share.

    Parameters
    ----------
    scale : int
        Up-scaling factor.
    phase : float
        HR coordinate of the centre of LR pixel 0.
    device : str
        Torch device of the frames.
    """

    def __init__(self, *, scale: int, phase: float, device: str) -> None:
        self.scale = scale
        black = ycbcr_to_rgb(np.zeros(3))
        basis = ycbcr_to_rgb(np.eye(3)) - black  # rows: what Y, Cb and Cr add to R, G and B
        dark = rgb_to_ycbcr(np.zeros(3))
        chroma = (rgb_to_ycbcr(np.eye(3)) - dark)[:, 1:]  # rows: Cb and Cr of R, G and B
        colors = chroma @ basis[1:]  # (RGB in, RGB out)
        taps = _sub_pixel_taps(scale, float(phase))  # (scale, 5)
        kernels = np.einsum("io,ry,cx->rcoiyx", colors, taps, taps)
        self.weight = torch.tensor(
            kernels.reshape(-1, 3, *kernels.shape[-2:]), dtype=torch.float32, device=device
        )
        self.luma = torch.tensor(basis[0], dtype=torch.float32, device=device)
        offset = black + dark[1:] @ basis[1:]
        self.offset = torch.tensor(np.tile(offset, scale**2), dtype=torch.float32, device=device)

    def rgb(self, sr: Tensor, lr: Tensor) -> Tensor:
        """Make the 8-bit RGB picture of a restored frame.

        Parameters
        ----------
        sr : Tensor, shape (N, 1, scale * h, scale * w) or (N, 3, scale * h, scale * w), float32
            BT.601 studio luma, or RGB.
        lr : Tensor, shape (N, 3, h, w)
            The LR frame, in [0, 255].

        Returns
        -------
        Tensor, shape (N, scale * h, scale * w, 3), uint8
        """
        if sr.shape[1] == 3:
            return self.rounded(sr.permute(0, 2, 3, 1).contiguous())
        return self.rounded(self._chroma_share(lr).addcmul_(sr[:, 0, :, :, None], self.luma))

    @staticmethod
    def rounded(frames: Tensor) -> Tensor:
        """Round to 8 bits as :func:`rlsp.color.to_8_bits` does: half to even, clipped to 0..255."""
        return frames.clamp(0, 255).round_().to(torch.uint8)

    def _chroma_share(self, lr: Tensor) -> Tensor:
        """Compute what all but the luma adds to R, G and B: (N, scale * h, scale * w, 3) float32."""
        n, _, h, w = lr.shape
        padded = F.pad(lr.float(), [RADIUS] * 4, mode="replicate").contiguous(
            memory_format=torch.channels_last
        )
        with matrix_precision("fp32"):
            shares = F.conv2d(padded, self.weight, self.offset)  # channels (row, column, colour)
        s = self.scale
        blocks = shares.permute(0, 2, 3, 1).reshape(n, h, w, s, s, 3).permute(0, 1, 3, 2, 4, 5)
        return blocks.reshape(n, s * h, s * w, 3)


def _sub_pixel_taps(scale: int, phase: float) -> np.ndarray:
    """Weights of the five LR pixels around one for each of its sub-pixels along an axis, (scale, 5) float64."""
    middle = RADIUS
    indices, weights = bicubic_taps(2 * RADIUS + 1, scale, phase)  # all taps of the middle pixel lie inside
    taps = np.zeros((scale, 2 * RADIUS + 1))
    for sub_pixel in range(scale):
        at = middle * scale + sub_pixel
        np.add.at(taps[sub_pixel], indices[:, at], weights[:, at])
    return taps
