"""PSNR on clips that are neither trained nor tested on, while a training goes on."""

from collections.abc import Mapping

import numpy as np
import torch

from rlsp.color import luma_of, rgb_to_y, to_8_bits
from rlsp.inference.execution import Execution
from rlsp.inference.restorer import Restorer
from rlsp.metrics.fidelity import crop_border, mse, psnr_from_mse
from rlsp.models.base import VideoModel
from rlsp.training.distributed import Group

BORDER = 8  # HR pixels left out, as in the headline protocol


def validate(
    model: VideoModel,
    lr_clips: Mapping[str, np.ndarray],
    hr_clips: Mapping[str, np.ndarray],
    *,
    frames: int | None,
    group: Group,
) -> float:
    """Measure PSNR-Y (dB): crop 8, the first frames, of the mean squared error of a clip, mean over clips.

    Parameters
    ----------
    model : VideoModel
        The model as it is now.
    lr_clips, hr_clips : mapping of str to ndarray, (T, h, w, 3) and (T, scale * h, scale * w, 3), uint8
        Clips by name; the processes of `group` share them.
    frames : int or None
        Frames of each clip, or all.
    group : Group
        The processes of the training.
    """
    was_training = model.training
    model.eval()
    names = sorted(hr_clips)
    total = sum(
        _clip_psnr(model, lr_clips[name][:frames], hr_clips[name][:frames])
        for name in names[group.rank :: group.size]
    )
    model.train(was_training)
    return group.sum(torch.tensor(float(total), dtype=torch.float64)).item() / len(names)


def _clip_psnr(model: VideoModel, lr: np.ndarray, hr: np.ndarray) -> float:
    """PSNR-Y (dB) of one clip, from 8-bit pictures as in the scores; the truth's luma is not rounded."""
    device = str(next(model.parameters()).device)
    errors = []
    # eagerly: to record a graph would not pay for so few frames
    restorer = Restorer(model, device=device, execution=Execution())
    for sr, truth in zip(restorer.frames(lr), hr, strict=True):
        restored = luma_of(to_8_bits(sr))
        errors.append(mse(crop_border(rgb_to_y(truth), BORDER), crop_border(restored, BORDER)))
    return psnr_from_mse(float(np.mean(errors)))
