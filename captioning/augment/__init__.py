"""Captions that a model of texts writes from what is known of a clip."""
