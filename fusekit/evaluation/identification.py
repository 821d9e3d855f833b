"""Identification, 1:N: whose face of a gallery a probe shows, or that it shows nobody's.

A person is compared by the nearest of their images, never by the mean of them. Two people whose
images are all farther apart than a threshold can have means that are nearer than it: averaging n
images takes (1 - 1/n) of their spread away, and the threshold of pairs counts on that spread. It
also puts someone of two looks between the two, where others may be.

Reference:
    Grother and Ngan, "Face Recognition Vendor Test", NIST IR 8009, 2014 (rank, TPIR = 1 - FNIR at
    rank 1, FPIR); King, "High Quality Face Recognition with Deep Metric Learning", dlib's blog,
    2017, and his answers below it (nearest neighbours, not means).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import UsageError
from fusekit.evaluation.rates import FEW, allowed, highest, wilson_interval
from fusekit.evaluation.scores import unit_rows
from fusekit.evaluation.templates import places_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusekit.evaluation.scores import Flags, Numbers, Scores, Vectors

RANKS: Final = (1, 5, 10)
FPIRS: Final = (1e-1, 1e-2, 1e-3)
NEVER: Final = 1 << 62
"""The rank of a person in the gallery whose probe or images have no embedding."""
_CELLS: Final = 1 << 22  # scores held at once: 16 MB
_NOT_THERE: Final = -1


@dataclass(frozen=True)
class Search:
    """What searching each probe in a gallery gave.

    Attributes:
        rank: ``(n,)`` place of the probe's own person among the people of the gallery, from 1; of
            people that score alike the probe's own is last. 0: a stranger, who is not in it;
            :data:`NEVER`: in it, and not to be found.
        top: ``(n,)`` score of the person found first; minus infinity: the probe has no embedding.
    """

    rank: Numbers
    top: Scores

    @property
    def strangers(self) -> Flags:
        """``(n,)`` whose person is not in the gallery."""
        none: Flags = self.rank == 0
        return none

    def rank_rate(self, rank: int) -> float | None:
        """Give the share of probes with a mate that found them at a rank or before; None: none."""
        mated = self.rank[~self.strangers]
        return float((mated <= rank).mean()) if len(mated) else None

    def tpir_at_fpir(self, fpir: float) -> float | None:
        """Give the highest TPIR with an FPIR of at most so much.

        Args:
            fpir: Share of strangers for whom somebody is found.

        Returns:
            The share of probes with a mate that found them first and over the threshold; None
            where not one stranger may be found, or nobody has a mate.
        """
        mated, strange = ~self.strangers, self.top[self.strangers]
        may_pass = allowed(fpir, len(strange))
        if not may_pass or not mated.any():
            return None
        bar = highest(strange, may_pass + 1)[-1] if may_pass < len(strange) else -np.inf
        return float(((self.rank[mated] == 1) & (self.top[mated] > bar)).mean())

    def as_json(
        self, ranks: Sequence[int] = RANKS, fpirs: Sequence[float] = FPIRS
    ) -> dict[str, Any]:
        """Give the counts and both tables, and rank 1's interval of 95 %."""
        mated, strangers = int((~self.strangers).sum()), int(self.strangers.sum())
        found = int((self.rank == 1).sum())
        return {
            "mated": mated, "strangers": strangers,
            "rank": {str(rank): self.rank_rate(rank) for rank in ranks},
            "rank_1_interval": list(wilson_interval(found, mated)) if mated else None,
            "tpir": {f"{fpir:g}": self.tpir_at_fpir(fpir) for fpir in fpirs},
            "few": [f"{fpir:g}" for fpir in fpirs if allowed(fpir, strangers) < FEW],
        }  # fmt: skip


def search_gallery(
    probes: Vectors, probe_people: Numbers, gallery: Vectors, gallery_people: Numbers,
    *, itself: Numbers | None = None,
) -> Search:  # fmt: skip
    """Search every probe in a gallery; a person's score is that of their nearest image.

    Args:
        probes: ``(n, D)``; a row of zeros has no embedding and finds nobody.
        probe_people: ``(n,)`` numbers of the people.
        gallery: ``(m, D)``, ``m >= 1``, any number of images or templates of each person; rows of
            zeros are never found.
        gallery_people: ``(m,)`` of the same numbering.
        itself: ``(n,)`` the row of the gallery that is the probe's own image and is passed over;
            -1: none. None: no probe is in the gallery.

    Returns:
        Ranks and first scores.

    Example:
        >>> gallery = np.eye(3, dtype=np.float32)
        >>> found = search_gallery(gallery[[1, 2]], np.array([1, 9]), gallery, np.arange(3))
        >>> found.rank.tolist(), found.top.tolist()
        ([1, 0], [1.0, 1.0])
    """
    order = np.argsort(gallery_people, kind="stable")
    people, starts = np.unique(gallery_people[order], return_index=True)
    right = unit_rows(gallery[order])
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    passed_over = None if itself is None else np.where(itself >= 0, place[itself], -1)
    rank, top = np.zeros(len(probes), np.int64), np.full(len(probes), -np.inf)
    own = places_of(people, probe_people)
    for part, scores in _products(probes, right, passed_over):
        of_person = np.maximum.reduceat(scores, starts, axis=1)  # (b, P)
        top[part] = of_person.max(axis=1)
        rank[part] = _ranks(of_person, own[part])
    return Search(rank, top)


@dataclass(frozen=True)
class Nearest:
    """The nearest images of a gallery.

    Attributes:
        rows: ``(n, k)`` rows of the gallery, in no order.
        scores: ``(n, k)``; minus infinity: there are not so many.
    """

    rows: Numbers
    scores: Vectors

    def vote(self, people: Numbers, threshold: float = -1.0) -> Numbers:
        """Name each probe by a vote of its nearest images, or nobody.

        Only images that score at least the threshold vote, each alike; of people with as many
        votes the one with the nearest image is taken.

        Args:
            people: ``(m,)`` of the gallery's images, from 0.
            threshold: The cosine from which two images are taken for one person: the same that
                pairs are judged by. -1 is a closed set, where everybody is in the gallery.

        Returns:
            ``(n,)`` a person each; -1: nobody's image is near enough.

        Example:
            >>> gallery = np.array([[1, 0], [0.96, 0.28], [0, 1]], np.float32)
            >>> probes = np.array([[0.8, 0.6], [-1, 0]], np.float32)
            >>> nearest_images(probes, gallery, 3).vote(np.array([4, 4, 7]), 0.5).tolist()
            [4, -1]
        """
        named = np.full(len(self.rows), _NOT_THERE, np.int64)
        votes = (self.scores >= threshold) & np.isfinite(self.scores)
        for probe in np.flatnonzero(votes.any(axis=1)).tolist():
            mine = votes[probe]
            named[probe] = _elect(people[self.rows[probe, mine]], self.scores[probe, mine])
        return named


def nearest_images(
    probes: Vectors, gallery: Vectors, neighbours: int, *, itself: Numbers | None = None
) -> Nearest:
    """Find the nearest images of a gallery.

    Args:
        probes: ``(n, D)``; a row of zeros has none.
        gallery: ``(m, D)``, ``m >= 1``; rows of zeros are never found.
        neighbours: How many; fewer where the gallery has fewer.
        itself: As in :func:`search_gallery`.

    Raises:
        UsageError: ``neighbours`` is no count.
    """
    if neighbours < 1:
        raise UsageError("--neighbours", str(neighbours), "1 or more")
    right, count = unit_rows(gallery), min(neighbours, len(gallery))
    rows = np.zeros((len(probes), count), np.int64)
    near = np.zeros((len(probes), count), np.float32)
    for part, scores in _products(probes, right, itself):
        rows[part] = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        near[part] = np.take_along_axis(scores, rows[part], axis=1)
    return Nearest(rows, near)


@dataclass(frozen=True)
class Identified:
    """What searching every image of a set among its others gave.

    Attributes:
        search: By the nearest image of each person.
        nearest: The images that vote.
        people: ``(n,)`` of the images.
    """

    search: Search
    nearest: Nearest
    people: Numbers

    def vote_rates(self, threshold: float = -1.0) -> dict[str, float | None]:
        """Say how the vote does at a threshold of pairs; -1: the closed set.

        Returns:
            ``right``: share of images with a mate that got their own name; ``named``: share of
            strangers that got anybody's. None where there is no such image.
        """
        names, strange = self.nearest.vote(self.people, threshold), self.search.strangers
        right, named = (names == self.people)[~strange], (names >= 0)[strange]
        return {
            "right": float(right.mean()) if len(right) else None,
            "named": float(named.mean()) if len(named) else None,
        }


def identify_images(features: Vectors, people: Numbers, neighbours: int) -> Identified:
    """Search every image of a set among all its others.

    People of one image are strangers: their like is not among the others.

    Args:
        features: ``(N, D)``; rows of zeros are left out.
        people: ``(N,)``; -1: unknown, a stranger to all.
        neighbours: How many of the nearest images vote.

    Raises:
        UsageError: ``neighbours`` is no count, or fewer than two images are there.
    """
    there = np.flatnonzero(features.any(axis=1))
    if len(there) < 2:
        raise UsageError("--neighbours", f"{len(there)} images", "two or more to compare")
    features, people = features[there], people[there].copy()
    unknown = people < 0
    people[unknown] = people.max(initial=0) + 1 + np.arange(int(unknown.sum()))
    _, at, images = np.unique(people, return_inverse=True, return_counts=True)
    alone, itself = images[at] == 1, np.arange(len(people))
    found = search_gallery(
        features, np.where(alone, _NOT_THERE, people), features, people, itself=itself
    )
    near = nearest_images(features, features, neighbours, itself=itself)
    return Identified(found, near, people)


def _elect(people: Numbers, scores: Vectors) -> int:
    names, at, votes = np.unique(people, return_inverse=True, return_counts=True)
    best = np.full(len(names), -np.inf)
    np.maximum.at(best, at, scores)
    return int(names[np.lexsort((best, votes))[-1]])


def _ranks(of_person: Vectors, own: Numbers) -> Numbers:
    mated = own >= 0
    mine = of_person[np.arange(len(own)), np.maximum(own, 0)]
    # Somebody else who scores alike stands before the own person: ties are never in one's favour.
    others = (of_person >= mine[:, None]).sum(axis=1)
    return np.where(mated, np.where(np.isneginf(mine), NEVER, others), 0)


def _products(
    probes: Vectors, right: Vectors, passed_over: Numbers | None
) -> Iterator[tuple[slice, Vectors]]:
    """Give scores block by block: (b, m); minus infinity for what is not to be found."""
    empty = ~right.any(axis=1)
    step = max(1, _CELLS // max(len(right), 1))
    for first in range(0, len(probes), step):
        part = slice(first, min(first + step, len(probes)))
        left = unit_rows(probes[part])
        scores = left @ right.T  # (b, m)
        scores[:, empty] = -np.inf
        scores[~left.any(axis=1)] = -np.inf
        if passed_over is not None:
            known = np.flatnonzero(passed_over[part] >= 0)
            scores[known, passed_over[part][known]] = -np.inf
        yield part, scores
