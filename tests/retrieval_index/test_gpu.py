"""Without a GPU nothing of it is used, and asking for it says so; with one the answers are those of the CPU."""

import numpy as np
import pytest

from retrieval_index.gpu import exact_on_gpu, fits, gpus, graph_on_gpu, has_cagra
from retrieval_index.structure import Structure


def structure() -> tuple[Structure, np.ndarray]:
    vectors = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made = Structure.empty("flat", 500, vectors)
    made.add(vectors)
    return made, vectors


@pytest.mark.skipif(gpus() > 0, reason="the installed FAISS has a GPU")
def test_without_a_gpu_it_says_so() -> None:
    made, vectors = structure()
    assert not fits(made)
    with pytest.raises(RuntimeError, match="has no GPU"):
        exact_on_gpu(made)
    with pytest.raises(RuntimeError, match="has no CAGRA"):
        graph_on_gpu(vectors)


@pytest.mark.gpu
@pytest.mark.skipif(gpus() == 0, reason="the installed FAISS has no GPU")
def test_a_gpu_answers_as_the_cpu_does() -> None:
    made, vectors = structure()
    slots = exact_on_gpu(made).search(vectors[:20], 5)[1]
    assert (slots == made.exact(vectors[:20], 5)[1]).mean() > 0.98, "float16 may swap what is nearly equal"
    if has_cagra():
        assert (graph_on_gpu(vectors).exact(vectors[:20], 5)[1] == made.exact(vectors[:20], 5)[1]).mean() > 0.98
