"""Benchmark of Recurrent Latent Space Propagation for video super-resolution."""
