"""From score, runtime and training rows to tables, figures and comparisons.

Nothing here runs a model or needs torch: the inputs are the tidy tables a study has written, and for the
figures that show pixels also its clips and restored frames.
"""
