"""How values are spread: exact counts of them in, quantiles, histograms and a long tail out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_TAIL_POINTS: Final = 64


@dataclass(frozen=True)
class Histogram:
    """Counts between edges.

    Attributes:
        edges: ``n + 1`` ascending numbers; a value that is an edge belongs to the bin it begins,
            the last edge to the last bin.
        counts: ``n`` counts; what lies outside the edges is in the first or last.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Spread:
    """How a measured figure is spread over samples.

    Attributes:
        name: The manifest's column.
        unit: What it counts in.
        samples: How many samples have it.
        mean: Of them; None when there are none, as all below.
        quantiles: The values at :data:`QUANTILES`: each one that some sample has.
        histogram: In bins that are the same for every dataset.
    """

    name: str
    unit: str
    samples: int
    mean: float | None
    quantiles: tuple[float, ...] | None
    histogram: Histogram

    @property
    def median(self) -> float | None:
        """The middle value; None when no sample has one."""
        return None if self.quantiles is None else self.quantiles[QUANTILES.index(0.5)]

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return asdict(self) | {"quantiles": _named(self.quantiles)}


@dataclass(frozen=True)
class Depth:
    """How many images the identities have.

    Attributes:
        identities: Those with at least one image.
        mean: Images of an identity.
        quantiles: At :data:`QUANTILES`, over identities.
        singletons: Identities of one image.
        gini: Of images over identities: 0 when all have as many, near 1 when few have nearly all.
        top_decile: Share of the images that the tenth of the identities with the most have.
        histogram: Identities by images, in powers of two.
        tail: Rank of an identity by its images, from 1, and its images: at most 64 points, evenly
            far apart on a logarithmic axis.
    """

    identities: int
    mean: float
    quantiles: tuple[float, ...]
    singletons: int
    gini: float
    top_decile: float
    histogram: Histogram
    tail: tuple[tuple[int, int], ...]

    def as_json(self) -> dict[str, Any]:
        """Give it as a JSON object."""
        return asdict(self) | {"quantiles": _named(self.quantiles)}


def spread_of(
    name: str, unit: str, values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64],
    edges: Sequence[float],
) -> Spread:  # fmt: skip
    """Describe a figure by its value counts.

    Args:
        name: The manifest's column.
        unit: What it counts in.
        values: ``(n,)`` distinct values, ascending.
        counts: ``(n,)`` how many samples have each.
        edges: Of the histogram, ascending.

    Example:
        >>> found = spread_of("yaw", "degrees", np.array([-10.0, 0, 30]), np.array([1, 3, 1]),
        ...                   [-90, 0, 90])
        >>> found.median, found.histogram.counts
        (0.0, (1, 4))
    """
    histogram = _histogram(values, counts, edges)
    total = int(counts.sum())
    if not total:
        return Spread(name, unit, 0, None, None, histogram)
    mean = round(float((values * counts).sum() / total), 4)
    return Spread(name, unit, total, mean, _quantiles(values, counts), histogram)


def depth_of(images: npt.NDArray[np.int64], identities: npt.NDArray[np.int64]) -> Depth:
    """Describe how many images identities have.

    Args:
        images: ``(n,)`` distinct numbers of images, ascending, from 1; at least one.
        identities: ``(n,)`` how many identities have each.

    Example:
        >>> depth = depth_of(np.array([1, 9]), np.array([9, 1]))
        >>> depth.gini, depth.top_decile, depth.tail[0]
        (0.4, 0.5, (1, 9))
    """
    people, total = int(identities.sum()), int((images * identities).sum())
    most = max(int(images[-1]), 1)
    edges = [1, *(2**k + 1 for k in range((most - 1).bit_length() + 1))]
    return Depth(
        identities=people, mean=round(total / people, 4),
        quantiles=_quantiles(images.astype(np.float64), identities),
        singletons=int(identities[images == 1].sum()),
        gini=round(_gini(images, identities), 4),
        top_decile=round(_top_share(images, identities, -(-people // 10)), 4),
        histogram=_histogram(images.astype(np.float64), identities, edges),
        tail=_tail(images, identities),
    )  # fmt: skip


def _named(quantiles: tuple[float, ...] | None) -> dict[str, float] | None:
    if quantiles is None:
        return None
    return {f"{q:g}": value for q, value in zip(QUANTILES, quantiles, strict=True)}


def _quantiles(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """Give the lower quantiles: the value of the sample at floor(q (n - 1))."""
    ends = np.cumsum(counts)
    at = np.floor(np.array(QUANTILES) * (int(ends[-1]) - 1)).astype(np.int64)
    found = values[np.searchsorted(ends, at, side="right")]
    return tuple(found.tolist())


def _histogram(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], edges: Sequence[float]
) -> Histogram:
    bins = len(edges) - 1
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
    summed = np.zeros(bins, np.int64)
    np.add.at(summed, place, counts)
    return Histogram(tuple(float(edge) for edge in edges), tuple(summed.tolist()))


def _gini(images: npt.NDArray[np.int64], identities: npt.NDArray[np.int64]) -> float:
    """Give Gini's coefficient: twice the area between the Lorenz curve and its diagonal."""
    share = np.concatenate([[0.0], np.cumsum(images * identities) / (images * identities).sum()])
    width = identities / identities.sum()
    under = float((width * (share[1:] + share[:-1])).sum()) / 2
    return 1 - 2 * under


def _top_share(
    images: npt.NDArray[np.int64], identities: npt.NDArray[np.int64], people: int
) -> float:
    down, have = images[::-1], identities[::-1]
    before = np.concatenate([[0], np.cumsum(have)[:-1]])
    taken = np.clip(people - before, 0, have)
    return float((down * taken).sum() / (images * identities).sum())


def _tail(
    images: npt.NDArray[np.int64], identities: npt.NDArray[np.int64]
) -> tuple[tuple[int, int], ...]:
    people = int(identities.sum())
    ranks = np.unique(np.round(np.geomspace(1, people, _TAIL_POINTS)).astype(np.int64))
    down, ends = images[::-1], np.cumsum(identities[::-1])
    have = down[np.searchsorted(ends, ranks, side="left")]
    return tuple(zip(ranks.tolist(), have.tolist(), strict=True))
