"""Pairs of identities that may be one person, each with the evidence for and against.

Candidates are the nearest templates of each identity, and all pairs of the same name. What
decides is the templates' score against thresholds that the datasets themselves give, the images
behind the templates, and the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.curate.names import match_names, name_key
from fusekit.curate.pair_decisions import Decision, Limits, decide
from fusekit.curate.pair_votes import count_votes
from fusekit.curate.search import Nearest, nearest, nearest_both
from fusekit.curate.thresholds import share_above
from fusekit.progress import Report, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fusekit.curate.gallery import Gallery
    from fusekit.store.embeddings import Vectors

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float32]
Marks: TypeAlias = npt.NDArray[np.int64]

NEAREST: Final = 5
"""Candidates of each template."""
VERSION: Final = 2

_SLACK: Final = 1e-3  # products of float32 against the exact scores
_PAIRS_AT_ONCE: Final = 4_096
_MOST_TEMPLATES: Final = 2  # of an identity
_NO_NAME, _SAME, _OTHER = 0, 1, 2
_AGREE: Final = (None, True, False)  # by these marks: whether the names of a pair agree


@dataclass(frozen=True)
class IdentityPairs:
    """Candidate pairs, by left and right person. All arrays are ``(P,)``.

    Attributes:
        left: int32, the identity_index of the left one (of samples: the template's number).
        right: int32, of the right one.
        score: float32, cosine of their nearest two templates.
        votes: int32, image pairs over the image threshold.
        compared: int32, image pairs compared.
        margin: float32, score less the best that either has with anyone else; NaN: nobody else.
        name_match: Whether their names agree; None: one has none.
        false_match: float32, estimated share of pairs of strangers that score as much.
        decision: One each.
    """

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    score: Floats
    votes: npt.NDArray[np.int32]
    compared: npt.NDArray[np.int32]
    margin: Floats
    name_match: tuple[bool | None, ...]
    false_match: Floats
    decision: tuple[Decision, ...]


def compare(
    left: Gallery,
    right: Gallery,
    limits: Limits,
    *,
    aliases: Mapping[str, str] | None = None,
    report: Report = silent,
) -> IdentityPairs:
    """Find the pairs of people of two galleries that may be one, and decide on each.

    Listed are candidates that score at least ``limits.unsure`` among the five nearest templates
    of either side, and all pairs of the same name. Decisions: see
    :func:`fusekit.curate.pair_decisions.decide`.

    Args:
        left: A gallery.
        right: Another; the same object compares its people with each other, each pair once.
        limits: From :func:`fusekit.curate.pair_decisions.limits_between`.
        aliases: Other names of people, from :func:`fusekit.curate.names.fold_aliases`.
        report: Told of progress.

    Raises:
        StorageError: A part of the embeddings is damaged.
    """
    near = _search(left, right, report)
    named = _same_names(left, right, aliases)
    a, b = _candidates(left, right, near, limits.unsure, named)
    score, template_a, template_b = _scores(left, right, a, b)
    match = _matches(left, right, named, a, b)
    keep = _listed(left, right, a, b, score, match, limits)
    a, b, score, match = a[keep], b[keep], score[keep], match[keep]
    votes, compared = count_votes(left, right, template_a[keep], template_b[keep], limits.image)
    margin = _margin(left, right, near, a, b, score)
    names = tuple(_AGREE[each] for each in match.tolist())
    decisions = tuple(
        decide(*evidence, limits=limits)
        for evidence in zip(
            score.tolist(), votes.tolist(), compared.tolist(), margin.tolist(), names, strict=True
        )
    )
    share = share_above((left.strangers, right.strangers), score) if len(score) else score
    return IdentityPairs(
        left=a.astype(np.int32), right=b.astype(np.int32), score=score, votes=votes,
        compared=compared, margin=margin, name_match=names,
        false_match=np.asarray(share, np.float32), decision=decisions,
    )  # fmt: skip


def pair_scores(left: Gallery, right: Gallery, a: Ints, b: Ints) -> Floats:
    """Score given pairs of people: the cosine of their nearest two templates, -1 for none.

    Args:
        left: A gallery.
        right: Another or the same.
        a: ``(P,)`` people of the left one.
        b: ``(P,)`` people of the right one.
    """
    return _scores(left, right, a, b)[0]


def _listed(
    left: Gallery, right: Gallery, a: Ints, b: Ints, score: Floats, match: Marks, limits: Limits
) -> Ints:
    """Give the positions of the pairs that are worth a row.

    The same name is, whatever the score; one that only may be the same but for a typing error
    is, where the faces agree too: John Burkett is not John Burnett.
    """
    sure = (score >= limits.unsure) | ((match == _SAME) & (score >= limits.named))
    for at in np.flatnonzero((match == _SAME) & ~sure).tolist():
        sure[at] = _letters(left.names[a[at]]) == _letters(right.names[b[at]])
    return np.flatnonzero(sure)


def _letters(name: str | None) -> str:
    return (name_key(name) or "").replace(" ", "")


def _same_names(left: Gallery, right: Gallery, aliases: Mapping[str, str] | None) -> Ints:
    """Give the pairs of people whose names agree and who both have images: (N, 2)."""
    named = np.array(match_names(left.names, right.names, aliases), np.int64).reshape(-1, 2)
    # A name alone is no pair: who has no image can't be compared.
    there = np.isin(named[:, 0], left.person_of) & np.isin(named[:, 1], right.person_of)
    return named[there]


def _matches(left: Gallery, right: Gallery, named: Ints, a: Ints, b: Ints) -> Marks:
    """Tell of each pair whether its names agree: (P,), see :data:`_AGREE`."""
    width = len(right.names)
    agree = np.isin(a * width + b, named[:, 0] * width + named[:, 1])
    known = left.has_name[a] & right.has_name[b]
    return np.where(agree, _SAME, np.where(known, _OTHER, _NO_NAME))


@dataclass(frozen=True)
class _Near:
    """The nearest of each template, both ways."""

    of_left: Nearest
    of_right: Nearest


def _search(left: Gallery, right: Gallery, report: Report) -> _Near:
    x, y = left.templates, right.templates
    stage = f"compare {x.dataset} with {y.dataset}"
    if left is right:
        whose = left.person_of
        found = nearest(
            x.centres, x.centres, NEAREST, query_of=whose, centre_of=whose, report=report,
            stage=stage,
        )  # fmt: skip
        return _Near(found, found)
    return _Near(*nearest_both(x.centres, y.centres, NEAREST, report=report, stage=stage))


def _candidates(
    left: Gallery, right: Gallery, near: _Near, least: float, named: Ints
) -> tuple[Ints, Ints]:
    """Give the pairs to look at: by score, both ways, and by name; ascending, each once."""
    width = len(right.names)
    forth = _pairs_over(near.of_left, left, right, least)
    back = _pairs_over(near.of_right, right, left, least)
    pairs = np.concatenate([forth, back[:, ::-1], named])
    if left is right:
        pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    codes = np.unique(pairs[:, 0] * width + pairs[:, 1])
    return codes // width, codes % width


def _pairs_over(found: Nearest, queries: Gallery, centres: Gallery, least: float) -> Ints:
    rows, ranks = np.nonzero(found.cosine >= least - _SLACK)
    left = queries.person_of[rows]
    right = centres.person_of[found.index[rows, ranks]]
    return np.stack([left, right], axis=1).astype(np.int64)


def _templates_of(gallery: Gallery, people: Ints) -> Iterator[tuple[Ints, npt.NDArray[np.bool_]]]:
    """Give each person's first template, then the second, and whether there is one."""
    first = np.searchsorted(gallery.person_of, people, "left")
    count = np.searchsorted(gallery.person_of, people, "right") - first
    for nth in range(_MOST_TEMPLATES):
        there = count > nth
        yield np.where(there, first + nth, 0), there


def _scores(left: Gallery, right: Gallery, a: Ints, b: Ints) -> tuple[Floats, Ints, Ints]:
    """Give the best score of each pair's templates, and which two they are."""
    best = np.full(len(a), -1, np.float32)
    from_a, from_b = np.zeros(len(a), np.int64), np.zeros(len(a), np.int64)
    for template_a, there_a in _templates_of(left, a):
        for template_b, there_b in _templates_of(right, b):
            at = np.flatnonzero(there_a & there_b)
            x, y = template_a[at], template_b[at]
            score = _dots(left.templates.centres, right.templates.centres, x, y)
            better = score > best[at]
            at = at[better]
            best[at], from_a[at], from_b[at] = score[better], x[better], y[better]
    return best, from_a, from_b


def _dots(x: Vectors, y: Vectors, rows: Ints, columns: Ints) -> Floats:
    """Give cosines of given pairs of rows, without BLAS: the same with any number of threads."""
    out = np.zeros(len(rows), np.float32)
    for begin in range(0, len(rows), _PAIRS_AT_ONCE):
        part = slice(begin, begin + _PAIRS_AT_ONCE)
        products = x[rows[part]].astype(np.float64) * y[columns[part]]
        out[part] = products.sum(axis=1)
    return out


def _margin(left: Gallery, right: Gallery, near: _Near, a: Ints, b: Ints, score: Floats) -> Floats:
    """Give the score less the best that either has with anyone else: (P,)."""
    other = np.fmax(
        _best_else(near.of_left, left, right, a, b), _best_else(near.of_right, right, left, b, a)
    )
    return score - other


def _best_else(found: Nearest, side: Gallery, far: Gallery, who: Ints, less: Ints) -> Floats:
    """Give the best score of people with anyone but ``less``; NaN for nobody: (P,)."""
    best = np.full(len(who), np.nan, np.float32)
    for template, there in _templates_of(side, who):
        index = found.index[template]  # (P, k), by cosine descending
        valid = there[:, None] & (index >= 0)
        valid &= far.person_of[np.where(index < 0, 0, index)] != less[:, None]
        at = np.flatnonzero(valid.any(axis=1))
        first = index[at, valid[at].argmax(axis=1)]
        best[at] = np.fmax(
            best[at], _dots(side.templates.centres, far.templates.centres, template[at], first)
        )
    return best
