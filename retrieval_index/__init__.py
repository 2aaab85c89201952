"""Vectors, indexes and search: find sounds by meaning.

Vectors are made by the stage `embed`, belong to the clip, and lie in blobs of the dataset; an index only gathers them.
The embedder itself is handed in, see `embedder.py`.
"""

from retrieval_index.index import Hit, Index

__all__ = ["Hit", "Index"]
