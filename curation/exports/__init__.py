"""Selections and generations in the layouts that other tools read; `export.py` runs one, each format is a file."""
