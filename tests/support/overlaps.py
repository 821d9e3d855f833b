"""Datasets that share some of their people, drawn with a known truth, and how to judge by it."""

from dataclasses import dataclass

import numpy as np
from support.people import draw_images, draw_people, make_people

Pair = tuple[str, str, str, str]
"""Two datasets in the order of their names, and an identity of each."""


def draw_overlap(
    storage, sizes: dict[str, int], *, shared: int, dim: int = 64, images: int | None = None,
    spread: float = 0.7, seed: int = 0, name: str = "{dataset}{number:06d}",
) -> set[Pair]:  # fmt: skip
    """Make datasets whose first ``shared`` identities are the same people.

    Args:
        sizes: Dataset to its number of identities.
        images: Of each identity; None: 1 to 8.
        spread: Of the images around their person.
        name: How an identity is called, of ``dataset`` and ``number``: alike only as the test says.

    Returns:
        The pairs of identities that are one person.
    """
    rng = np.random.default_rng([seed, 5])
    people = draw_people(shared + sum(sizes.values()), dim, seed)
    first, called = shared, {}
    for number, (dataset, size) in enumerate(sizes.items()):
        who = [*range(shared), *range(first, first + size - shared)]
        first += size - shared
        names = [name.format(dataset=dataset, number=place) for place in range(size)]
        counts = [images or int(rng.integers(1, 9)) for _ in who]
        drawn = {
            n: draw_images(people[p], count, 10_000_000 * number + p + seed, spread)
            for n, p, count in zip(names, who, counts, strict=True)
        }
        make_people(storage, dataset, drawn, unit_size=4_096)
        called[dataset] = names[:shared]
    return {
        (a, b, called[a][i], called[b][i])
        for a in sizes for b in sizes if a < b for i in range(shared)
    }  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """Pairs of one decision against the truth."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)


def identities_of(row) -> Pair:
    """Give a row's two identities, the dataset of the lesser name first."""
    a, b = sorted((row[f"dataset_{side}"], row[f"identity_{side}"]) for side in "ab")
    return a[0], b[0], a[1], b[1]


def judge(pairs, truth: set[Pair], decision: str) -> Judged:
    """Compare the rows of a table that have one decision with the truth."""
    said = {identities_of(r) for r in pairs.to_pylist() if r["decision"] == decision}
    return Judged(len(said & truth), len(said - truth), len(truth - said))
