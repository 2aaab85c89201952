"""A tiny random AST as transformers saves it."""

from pathlib import Path

import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

FRAMES, BINS, CLASSES = 98, 32, 5
LABELS = {0: "Speech", 1: "Music", 2: "Singing", 3: "Dog", 4: "Rain"}


def save_ast(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=FRAMES,
        num_mel_bins=BINS,
        id2label=LABELS,
        initializer_range=0.5,
    )
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=BINS, max_length=FRAMES).save_pretrained(folder)
    return folder
