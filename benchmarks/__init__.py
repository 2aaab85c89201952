"""Measurements of speed, each run as `python -m benchmarks.NAME`.

Each compares two ways of doing one thing in the same run and prints JSON.
"""
