"""Pairs with scores, drawn: many ties, few values, every size."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def scored_pairs(draw, least: int = 2, most: int = 60):
    """Scores that often tie, whether same, and folds; at least one pair of each kind."""
    count = draw(st.integers(least, most))
    seed = draw(st.integers(0, 2**32 - 1))
    values = draw(st.integers(2, 40))
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.5
    same[0], same[-1] = True, False
    scores = (rng.integers(0, values, count) + same * (values // 3)) / values
    return scores, same, rng.integers(1, 4, count)


def people_vectors(rng, people: int, images: int, dim: int, spread: float):
    """Images around random people: (people * images, dim) float32, and the people's numbers."""
    centres = rng.normal(size=(people, dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = np.repeat(centres, images, axis=0)
    vectors = vectors + spread * rng.normal(size=vectors.shape) / np.sqrt(dim)
    return vectors.astype(np.float32), np.repeat(np.arange(people), images)


def slow_cosine(a, b) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b)))
