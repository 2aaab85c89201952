"""The command line, the recipes, Ray, and the wiring of `curation`, `captioning`, `retrieval_index` and `models`.

This folder joins the four others and holds no rule of theirs: what a clip is, how it is measured, captioned, searched
or learned is said there, and which part is handed to which is said here.
"""
