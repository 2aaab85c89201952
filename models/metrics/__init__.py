"""How close generated sounds are to real ones: numbers about features and probabilities that a network gave.

`frechet.py` compares two clouds of features, `divergence.py` class probabilities, `similarity.py` features pair by
pair. Which network gave the features is the caller's to say, beside every number: the choice moves results twofold.
"""
