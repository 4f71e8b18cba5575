"""Shuffling between space and channels (paper, section 3.1).

Channels are ordered ``(row offset, column offset, colour)``, as in the released code; this is *not* the
``(colour, row offset, column offset)`` order of :func:`torch.nn.functional.pixel_shuffle`.
"""

from torch import Tensor


def shuffle_up(packed: Tensor, scale: int) -> Tensor:
    """Move channels into space (equation 1 of the paper).

    Parameters
    ----------
    packed : Tensor, shape (..., scale * scale * C, h, w)
        Channel ``(row * scale + column) * C + c`` holds colour ``c`` of sub-pixel ``(row, column)``.
    scale : int
        Up-scaling factor.

    Returns
    -------
    Tensor, shape (..., C, scale * h, scale * w)
    """
    *lead, channels, h, w = packed.shape
    colors = channels // scale**2
    blocks = packed.reshape(-1, scale, scale, colors, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(*lead, colors, scale * h, scale * w)


def shuffle_down(frames: Tensor, scale: int) -> Tensor:
    """Move space into channels (equation 2 of the paper): the inverse of :func:`shuffle_up`.

    Parameters
    ----------
    frames : Tensor, shape (..., C, scale * h, scale * w)
    scale : int
        Down-scaling factor.

    Returns
    -------
    Tensor, shape (..., scale * scale * C, h, w)
    """
    *lead, colors, height, width = frames.shape
    h, w = height // scale, width // scale
    blocks = frames.reshape(-1, colors, h, scale, w, scale)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(*lead, scale**2 * colors, h, w)
