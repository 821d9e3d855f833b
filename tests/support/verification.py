"""LFW's verification protocol: same or not same, ten folds, threshold from the other nine."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

FOLDS = 10


@dataclass(frozen=True)
class Pair:
    """Two pictures of one fold, and whether they show one person."""

    fold: int
    first: Path
    second: Path
    same: bool


def read_pairs(pairs_file: Path, images: Path, per_kind: int | None = None) -> list[Pair]:
    """Read an LFW pairs file: per fold first the genuine, then the impostor pairs.

    ``per_kind`` takes only the first pairs of each kind of each fold.
    """
    head, *lines = [line.split() for line in pairs_file.read_text().splitlines() if line.strip()]
    folds, count = (int(head[0]), int(head[1])) if len(head) > 1 else (1, int(head[0]))
    pairs = []
    for i, row in enumerate(lines):
        if per_kind is not None and i % count >= per_kind:
            continue
        left, right = (row[0], row[1]), (row[0], row[2]) if len(row) == 3 else (row[2], row[3])
        paths = [images / name / f"{name}_{int(n):04d}.jpg" for name, n in (left, right)]
        pairs.append(Pair(i // (2 * count), paths[0], paths[1], len(row) == 3))
    assert len(lines) == folds * 2 * count
    return pairs


def cosines(pairs: list[Pair], embeddings: dict[Path, np.ndarray]) -> np.ndarray:
    first = np.stack([embeddings[pair.first] for pair in pairs]).astype(np.float64)
    second = np.stack([embeddings[pair.second] for pair in pairs]).astype(np.float64)
    dots = (first * second).sum(axis=1)
    return dots / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))


def ten_fold_accuracy(scores, same, fold) -> tuple[float, float]:
    """Give mean and standard deviation of the folds' accuracies, in percent."""
    accuracies = []
    for k in np.unique(fold):
        held_out = fold == k
        threshold = _best_threshold(scores[~held_out], same[~held_out])
        accuracies.append(((scores[held_out] >= threshold) == same[held_out]).mean() * 100)
    return float(np.mean(accuracies)), float(np.std(accuracies))


def verify(pairs: list[Pair], embeddings: dict[Path, np.ndarray]) -> tuple[float, float]:
    """Give the accuracy of cosines over the pairs, in percent, and its deviation over folds."""
    return ten_fold_accuracy(
        cosines(pairs, embeddings),
        np.array([pair.same for pair in pairs]),
        np.array([pair.fold for pair in pairs]),
    )


def _best_threshold(scores, same) -> float:
    order = np.argsort(scores, kind="stable")
    genuine_below = np.cumsum(same[order])
    impostor_below = np.arange(1, len(order) + 1) - genuine_below
    correct = np.concatenate([[same.sum()], impostor_below + same.sum() - genuine_below])
    best = int(correct.argmax())
    edges = scores[order]
    if best == 0:
        return float(edges[0])
    return float((edges[best - 1] + edges[min(best, len(edges) - 1)]) / 2)
