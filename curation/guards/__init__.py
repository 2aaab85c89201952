"""Evaluation lists that training must not touch: their spans, their sounds, and what lists share."""
