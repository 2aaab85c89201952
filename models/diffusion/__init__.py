"""Diffusion, apart from any network: paths from data to noise, solvers back, guidance, times, scale of latents."""
