"""Duplicates: the same sound twice, found in three layers, joined into groups, and the best copy of each group.

    samples   equal decoded samples (`pcm_sha256` of `measure`)
    print     the same recording re-encoded, shifted or trimmed (Chromaprint), or the same seconds of the same video
    vectors   near neighbours among an embedder's vectors (FAISS)

Nothing is refused here; `select` reads the groups.
"""
