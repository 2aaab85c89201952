"""Frozen, deterministic encoders: sound, text and pictures become vectors or tokens.

Each loads published weights or a folder by the same code, from safetensors only, and says by `identity()` what its
results depend on.
"""
