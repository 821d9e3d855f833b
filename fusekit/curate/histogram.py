"""How activations are spread: the share of samples under each tenth, as the paper's table has it.

Reference:
    Yu et al., "Unknown Identity Rejection Loss: Utilizing Unlabeled Data for Face Recognition",
    ICCV Workshops 2019, table 7: cumulative distribution of the activation values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

EDGES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The activations of the paper's columns."""


@dataclass(frozen=True)
class Histogram:
    """The cumulative distribution of some samples' activations.

    Attributes:
        dataset: The dataset of their nearest known identities; None: all samples.
        samples: How many they are.
        below: Shares of them with an activation under each of :data:`EDGES`; ascending.
        rest: Share of 0.9 and more; with the last of ``below`` it makes 1.
    """

    dataset: str | None
    samples: int
    below: tuple[float, ...]
    rest: float

    def as_json(self) -> dict[str, Any]:
        """Give it as an object: ``below`` by edge, such as ``"0.1"``."""
        return {
            "dataset": self.dataset, "samples": self.samples,
            "below": {str(edge): share for edge, share in zip(EDGES, self.below, strict=True)},
            "rest": self.rest,
        }  # fmt: skip


def make_histograms(table: pa.Table, datasets: tuple[str, ...]) -> tuple[Histogram, ...]:
    """Count the activations of a finding, over all samples first and then by nearest dataset.

    Args:
        table: With the columns ``activation`` and ``nearest_dataset``.
        datasets: Those compared with; one that is nearest to nobody gets a line of no samples.
    """
    # As float64, like every comparison of a stored activation with a threshold.
    activation = table.column("activation").to_numpy().astype(np.float64)
    names = np.array(table.column("nearest_dataset").to_pylist(), object)
    return (
        _histogram(None, activation),
        *(_histogram(name, activation[names == name]) for name in datasets),
    )


def _histogram(dataset: str | None, activation: np.ndarray[Any, Any]) -> Histogram:
    count = len(activation)
    under = [int((activation < edge).sum()) for edge in EDGES]
    shares = [round(n / count, 6) if count else 0.0 for n in (*under, count - under[-1])]
    return Histogram(dataset, count, tuple(shares[:-1]), shares[-1])
