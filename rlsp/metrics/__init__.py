"""Measures of restored clips: fidelity (PSNR, SSIM) and temporal consistency (tOF, warping error)."""

from rlsp.metrics.fidelity import PSNR_RGB, PSNR_Y, PSNR_Y_OF_RGB, SSIM_Y
from rlsp.metrics.metric import Metric
from rlsp.metrics.temporal import TOF, WARP_ERROR

# In the order of columns and tables.
METRICS: tuple[Metric, ...] = (PSNR_Y, SSIM_Y, PSNR_RGB, PSNR_Y_OF_RGB, TOF, WARP_ERROR)
PSNR = {"y": PSNR_Y, "rgb": PSNR_RGB, "y-of-rgb": PSNR_Y_OF_RGB}  # by the channel of a protocol
