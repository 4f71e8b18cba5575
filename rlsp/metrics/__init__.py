"""Measures of restored clips: fidelity (PSNR, SSIM) and temporal consistency (tOF, warping error)."""
