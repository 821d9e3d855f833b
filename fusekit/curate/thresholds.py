"""Thresholds out of the data: how strangers score against each other, how one person does.

A false-match rate (FMR) is the share of pairs of strangers that score above a threshold, a
false-non-match rate (FNMR) the share of pairs of one person that don't. A dataset shows its
strangers itself: its identities against each other. Rates below what its pairs can show are
extrapolated: on the scale of cosine_scale.py, against the normal distribution's quantiles, the
upper tail is nearly a straight line, fitted where there are pairs enough, and above the reach of
the few people that a dataset holds twice. A line of the cosine itself would run past 1 with a
model that gives strangers high cosines.

Reference:
    Grother, Ngan and Hanaoka, "Face Recognition Vendor Test part 2: identification", NISTIR
    8271, 2019: FMR and FNMR. Hill, "A simple general approach to inference about the tail of a
    distribution", Annals of Statistics 1975: tails from the largest order statistics alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.curate.cosine_scale import to_cosine, to_scale
from fusekit.curate.templates import trimmed_mean
from fusekit.errors import FindingError
from fusekit.rng import derive, permute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.curate.templates import Templates
    from fusekit.store.embeddings import EmbeddingSet, Vectors

Ints: TypeAlias = npt.NDArray[np.int64]
Doubles: TypeAlias = npt.NDArray[np.float64]

PROBES: Final = 2_048
"""Most templates, or images, of a dataset that its distributions are taken from."""
FEW_PAIRS: Final = 1_000
"""With fewer, tails can't be seen: they are taken from the middle of the distribution."""
VERSION: Final = 2

_BINS: Final = 40_000  # of the cosine, from -1 to 1
_PAIRS_SEEN: Final = 20  # a rate is read off where so many pairs lie above it
_REPEATED: Final = 0.1  # and where it is this over the identities: many times those held twice
_FIT_FROM: Final = 0.05  # largest rate that the tail's line is fitted to
_FIT_POINTS: Final = 16
_BLOCK: Final = 8_192
_QUARTERS_TO_SD: Final = 1.349  # of a normal distribution
_HEAVY_TAIL: Final = 1.2  # over a normal one, as measured on larger sets
_HALF_IMAGES: Final = 32
_RATES: Final = np.geomspace(1, 1e-30, 481)
_NORMAL: Final = NormalDist()
_SEED: Final = derive("thresholds", "probes")


@dataclass(frozen=True)
class Strangers:
    """How the pairs of strangers of a dataset score.

    Attributes:
        pairs: How many pairs were looked at; 0: none can be.
        counts: int64 ``(40000,)``, pairs in each of the equal bins of the cosine from -1 to 1.
        seen: The smallest rate that is read off; lower ones lie on the line.
        at_seen: The cosine at that rate, on the scale of :mod:`fusekit.curate.cosine_scale`.
        slope: What it grows by there for one standard normal quantile further out.
    """

    pairs: int
    counts: Ints
    seen: float
    at_seen: float
    slope: float

    def threshold(self, rate: float) -> float:
        """Give the cosine that a share ``rate`` of the pairs of strangers lies above.

        Args:
            rate: Over 0, at most 1.

        Returns:
            A cosine, rounded to 1/10,000; -1 when there are no pairs.
        """
        if not self.pairs:
            return -1.0
        if rate >= self.seen and self.pairs >= FEW_PAIRS:
            return round(_quantile(self.counts, rate), 4)
        return to_cosine(self.at_seen + self.slope * (_deviate(rate) - _deviate(self.seen)))

    def share_above(self, scores: npt.ArrayLike) -> Doubles:
        """Estimate the share of pairs of strangers that score as much.

        Args:
            scores: ``(n,)`` cosines.

        Returns:
            float64 ``(n,)``, from 1e-30 to 1.

        Raises:
            FindingError: There are no pairs.
        """
        return share_above((self,), scores)


def joint_threshold(kinds: Sequence[Strangers], rate: float) -> float:
    """Give the cosine that a share ``rate`` of strangers *across* two datasets lies above.

    Noise shrinks cosines: strangers' templates of one image spread less than those of a hundred,
    each by its own factor. So those of one dataset against another's spread by the geometric mean
    of what both show inside.

    Args:
        kinds: Strangers of one or two datasets; those without pairs say nothing.
        rate: Over 0, at most 1.

    Returns:
        A cosine, rounded to 1/10,000.

    Raises:
        FindingError: None of them has pairs.

    Reference:
        Spearman, "The proof and measurement of association between two things", American Journal
        of Psychology 1904: correlations are attenuated by the reliability of both.
    """
    told = [kind.threshold(rate) for kind in kinds if kind.pairs]
    if not told:
        raise FindingError(
            "thresholds", "one identity with images, so nobody shows how strangers score",
            "two or more", "name a dataset of more people too",
        )  # fmt: skip
    return round(float(np.prod(np.maximum(told, 0)) ** (1 / len(told))), 4)


def share_above(kinds: Sequence[Strangers], scores: npt.ArrayLike) -> Doubles:
    """Estimate the share of pairs of strangers that score as much: the rate to a threshold.

    Args:
        kinds: As for :func:`joint_threshold`.
        scores: ``(n,)`` cosines.

    Returns:
        float64 ``(n,)``, from 1e-30 to 1.

    Raises:
        FindingError: None of the kinds has pairs.
    """
    cosines = np.array([joint_threshold(kinds, float(rate)) for rate in _RATES])
    # A shared threshold stands for its largest rate; interp wants the cosines ascending.
    cosines, first = np.unique(np.maximum.accumulate(cosines), return_index=True)
    logs = np.interp(np.asarray(scores, np.float64), cosines, np.log(_RATES[first]))
    return np.asarray(np.exp(logs))


def template_strangers(sets: Sequence[Templates]) -> Strangers:
    """Score the templates of identities against those of others, inside each dataset.

    Nobody is compared across datasets: those two may be the same person.

    Args:
        sets: Of datasets of one model; their pairs are pooled.
    """
    counts, identities = np.zeros(_BINS, np.int64), 0
    for templates in sets:
        count = len(templates.centres)
        chosen = probes(count, PROBES)
        counts += _histogram(templates.centres, templates.of_identity, chosen)
        identities += len(np.unique(templates.of_identity))
    return fit_strangers(counts, identities)


def image_strangers(sets: Sequence[tuple[Templates, EmbeddingSet]]) -> Strangers:
    """Score single images of identities against those of others, inside each dataset.

    Args:
        sets: Templates and embeddings of each dataset; at most 2,048 images of each count, of as
            many identities as there are.
    """
    counts, identities = np.zeros(_BINS, np.int64), 0
    for templates, embeddings in sets:
        rows, who = _one_image_each(templates)
        vectors = embeddings.take(rows)
        counts += _histogram(vectors, who, np.arange(len(who)))
        identities += len(np.unique(who))
    return fit_strangers(counts, identities)


def half_scores(templates: Templates, embeddings: EmbeddingSet) -> Doubles:
    """Score the template of one half of a person's images against that of the other: (F,).

    Args:
        templates: Of the dataset.
        embeddings: Of the same.

    Returns:
        float64, one for each of at most 2,048 templates of two images or more, made of at most
        32 images.
    """
    scores = []
    for vectors in _sampled_people(templates, embeddings):
        halves = [trimmed_mean(vectors[side::2]).astype(np.float64) for side in (0, 1)]
        scores.append(float((halves[0] * halves[1]).sum()))
    return np.array(scores)


def fit_strangers(counts: Ints, identities: int) -> Strangers:
    """Fit the tail of a distribution of strangers' scores.

    Args:
        counts: ``(40000,)`` pairs in each bin of the cosine.
        identities: Of how many people, which bounds how many pairs can be one person's.
    """
    pairs = int(counts.sum())
    if not pairs:
        return Strangers(0, counts, 1.0, 1.0, 0.0)
    if pairs < FEW_PAIRS:
        return _normal(counts, pairs)
    seen = min(_FIT_FROM / 2, max(_PAIRS_SEEN / pairs, _REPEATED / identities))
    rates = np.geomspace(_FIT_FROM, seen, _FIT_POINTS)
    out = np.array([_deviate(float(rate)) for rate in rates])
    z = to_scale([_quantile(counts, float(rate)) for rate in rates])
    away = out - out.mean()
    slope = float((away * (z - z.mean())).sum() / np.square(away).sum())
    return Strangers(pairs, counts, float(seen), float(z[-1]), slope)


def _normal(counts: Ints, pairs: int) -> Strangers:
    """Fit a normal distribution to few pairs, wider than they are by what they can't show."""
    high, middle, low = to_scale([_quantile(counts, rate) for rate in (0.25, 0.5, 0.75)])
    slope = float((high - low) / _QUARTERS_TO_SD * _HEAVY_TAIL * (1 + 1 / np.sqrt(pairs)))
    at_seen = float(middle) + slope * _deviate(_FIT_FROM)
    return Strangers(pairs, counts, _FIT_FROM, at_seen, slope)


def probes(count: int, most: int) -> Ints:
    """Choose at most so many of ``count``, the same each time, ascending: (n,)."""
    return np.sort(permute(np.arange(min(count, most)), count, _SEED).astype(np.int64))


def _histogram(centres: Vectors, whose: npt.NDArray[np.int32], chosen: Ints) -> Ints:
    """Count by bin the cosines of chosen centres with others' centres, each pair once."""
    counts = np.zeros(_BINS, np.int64)
    turn = np.full(len(centres), -1, np.int64)  # of a chosen one: it meets those after it
    turn[chosen] = np.arange(len(chosen))
    for begin in range(0, len(centres), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        cosines = centres[chosen] @ centres[block].T  # (P, block)
        met = (turn[block] > np.arange(len(chosen))[:, None]) | (turn[block] < 0)
        others = cosines[met & (whose[chosen][:, None] != whose[block])]
        others += 1
        others *= np.float32(_BINS / 2)
        np.clip(others, 0, _BINS - 1, out=others)
        counts += np.bincount(others.astype(np.int32), minlength=_BINS)
    return counts


def _quantile(counts: Ints, rate: float) -> float:
    """Give the cosine that a share ``rate`` of the counts lies above, to half a bin."""
    above = counts[::-1].cumsum()[::-1]  # (bins,): in this bin or higher
    first = int(np.count_nonzero(above > rate * counts.sum()))
    return 2 * first / _BINS - 1


def _deviate(rate: float) -> float:
    """Give the standard normal deviate that a share ``rate`` lies above."""
    return -_NORMAL.inv_cdf(min(max(rate, 1e-300), 1 - 1e-16))


def _one_image_each(templates: Templates) -> tuple[Ints, npt.NDArray[np.int32]]:
    """Choose templates and one image of each: ascending rows, and whose."""
    chosen = probes(len(templates.centres), PROBES)
    turn = permute(np.zeros(len(chosen), np.int64), templates.images[chosen], chosen + _SEED % 997)
    rows = templates.rows[templates.starts[chosen] + turn.astype(np.int64)]
    order = np.argsort(rows)
    return rows[order], templates.of_identity[chosen][order]


def _sampled_people(templates: Templates, embeddings: EmbeddingSet) -> list[Vectors]:
    """Read up to 32 images, in a shuffled order, of each of some templates of two or more."""
    several = np.flatnonzero(templates.images > 1)
    chosen = several[probes(len(several), PROBES)]
    rows = []
    for template in chosen.tolist():
        mine = templates.rows_of(template)
        turns = permute(np.arange(min(len(mine), _HALF_IMAGES)), len(mine), template + 1)
        rows.append(mine[turns.astype(np.int64)])
    every = np.unique(np.concatenate([np.zeros(0, np.int64), *rows]))
    vectors = embeddings.take(every)
    return [vectors[np.searchsorted(every, each)] for each in rows]
