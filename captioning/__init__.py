"""Captions of clips: by people, by audio-language models, and from labels, each with its provenance.

A captioner (`captioner.py`) turns sounds and a prompt into sentences; the stage `caption.py` runs one over a dataset
and records who said what; `candidates.py` gathers all that was said and holds the default rule of choice. Models speak
in process (`in_process/`) or from a server (`server/`), and `asking.py` keeps them busy; nothing imports torch before a
model is loaded.
"""
