"""The authors' checkpoints and pictures."""
