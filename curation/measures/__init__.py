"""What is measured of a cut clip: levels, loudness, spectrum, voices, picture. See `curation/measure.py`."""
