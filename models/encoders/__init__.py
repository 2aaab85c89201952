"""Frozen, deterministic encoders: sound, text and pictures become vectors, tokens, or scores of classes.

Each loads published weights or a folder by the same code, from safetensors (EfficientAT also from the tensors that are
published, of which nothing is run), and says by `identity()` what its results depend on.
"""
