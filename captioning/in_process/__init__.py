"""Captioners in this process: audio-language models through transformers."""
