"""Pairs of identities that may be one person, each with the evidence for and against.

Candidates are the nearest templates of each identity, and all pairs of the same name. What
decides is the templates' score against thresholds that the datasets themselves give, the images
behind the templates, and the names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fusekit.curate.names import match_names, name_key, names_match, person_name
from fusekit.curate.search import Nearest, nearest, nearest_both
from fusekit.curate.templates import Templates, make_templates
from fusekit.curate.thresholds import (
    Strangers,
    image_strangers,
    joint_threshold,
    share_above,
    template_strangers,
)
from fusekit.progress import Report, silent
from fusekit.rng import derive, permute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingSet, Vectors

Decision: TypeAlias = Literal["same", "different", "unsure"]
Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float32]

NEAREST: Final = 5
"""Candidates of each template."""
IMAGES: Final = 10
"""Most images of each side that are compared with each other: 100 pairs."""
IMAGE_FALSE_MATCH: Final = 1e-4
"""Share of image pairs of strangers that are counted as votes."""
UNSURE: Final = 100
"""How many times as many strangers may score as an unsure pair does."""
VOTES: Final = 0.15
"""Share of the compared image pairs whose votes make a strong score believed."""
VERSION: Final = 1

_SLACK: Final = 1e-3  # products of float32 against the exact scores
_PAIRS_AT_ONCE: Final = 4_096
_MOST_TEMPLATES: Final = 2  # of an identity
_SEED: Final = derive("identity pairs", "images")


@dataclass(frozen=True)
class Gallery:
    """The people of a dataset, ready to be compared.

    Attributes:
        templates: Of its identities, or of its samples.
        embeddings: What they were made of.
        strangers: How its templates score against each other.
        image_strangers: How single images of its identities do.
    """

    templates: Templates
    embeddings: EmbeddingSet
    strangers: Strangers
    image_strangers: Strangers

    @cached_property
    def names(self) -> list[str | None]:
        """Give who each person is by name: of an identity, in their order; None: no name."""
        pairs = zip(self.templates.identities, self.templates.names, strict=True)
        return [person_name(*pair) for pair in pairs] or [None] * len(self.templates.centres)

    @cached_property
    def person_of(self) -> npt.NDArray[np.int32]:
        """Give whose each template is, int32 ``(T,)`` ascending; of samples, each its own."""
        if self.templates.identities:
            return self.templates.of_identity
        return np.arange(len(self.templates.centres), dtype=np.int32)


@dataclass(frozen=True)
class Limits:
    """Cosines that decide between two datasets.

    Attributes:
        same: Of templates: strangers score above it at the rate asked for.
        unsure: Of templates: strangers score above it 100 times as often.
        named: Of templates of the same name: strangers score above it at the root of the rate.
        image: Of single images: strangers score above it once in 10,000.
    """

    same: float
    unsure: float
    named: float
    image: float


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


def make_gallery(storage: Storage, embeddings: EmbeddingSet) -> Gallery:
    """Make the templates of a dataset's identities, and see how its strangers score.

    Args:
        storage: The store.
        embeddings: Of a dataset with identities.
    """
    return gallery_of(make_templates(storage, embeddings), embeddings)


def gallery_of(templates: Templates, embeddings: EmbeddingSet) -> Gallery:
    """Make a gallery of templates that stand already."""
    if not templates.identities:
        nobody = template_strangers([])
        return Gallery(templates, embeddings, nobody, nobody)
    return Gallery(
        templates, embeddings, template_strangers([templates]),
        image_strangers([(templates, embeddings)]),
    )  # fmt: skip


def limits_between(left: Gallery, right: Gallery, false_match: float) -> Limits:
    """Derive the thresholds between two galleries from what both show of strangers.

    Args:
        left: A gallery.
        right: Another, or the same.
        false_match: Share of the pairs of strangers that may score as one person, over 0, at
            most 0.01.

    Raises:
        FindingError: Neither has two identities.
    """
    kinds = (left.strangers, right.strangers)
    images = (left.image_strangers, right.image_strangers)
    return Limits(
        same=joint_threshold(kinds, false_match),
        unsure=joint_threshold(kinds, UNSURE * false_match),
        named=joint_threshold(kinds, float(np.sqrt(false_match))),
        image=joint_threshold(images, IMAGE_FALSE_MATCH),
    )


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
    of either side, and all pairs of the same name. Decisions: see :func:`decide`.

    Args:
        left: A gallery.
        right: Another; the same object compares its people with each other, each pair once.
        limits: From :func:`limits_between`.
        aliases: Other names of people, from :func:`fusekit.curate.names.fold_aliases`.
        report: Told of progress.

    Raises:
        StorageError: A part of the embeddings is damaged.
    """
    near = _search(left, right, report)
    a, b = _candidates(left, right, near, limits.unsure, aliases)
    score, template_a, template_b = _scores(left, right, a, b)
    names_a, names_b = left.names, right.names
    names = [
        names_match(names_a[i], names_b[j], aliases)
        for i, j in zip(a.tolist(), b.tolist(), strict=True)
    ]
    keep = np.array(
        [at for at, (i, j) in enumerate(zip(a.tolist(), b.tolist(), strict=True))
         if _is_listed(float(score[at]), names_a[i], names_b[j], limits, match=names[at])],
        np.int64,
    )  # fmt: skip
    a, b, score = a[keep], b[keep], score[keep]
    template_a, template_b = template_a[keep], template_b[keep]
    matches = tuple(names[at] for at in keep.tolist())
    margin = _margin(left, right, near, a, b, score)
    votes, compared = _votes(left, right, template_a, template_b, limits.image)
    decisions = tuple(
        decide(*evidence, limits=limits)
        for evidence in zip(
            score.tolist(), votes.tolist(), compared.tolist(), margin.tolist(), matches,
            strict=True,
        )
    )  # fmt: skip
    share = share_above((left.strangers, right.strangers), score) if len(score) else score
    return IdentityPairs(
        left=a.astype(np.int32), right=b.astype(np.int32), score=score, votes=votes,
        compared=compared, margin=margin, name_match=matches,
        false_match=np.asarray(share, np.float32), decision=decisions,
    )  # fmt: skip


def decide(
    score: float,
    votes: int,
    compared: int,
    margin: float,
    name_match: bool | None,  # noqa: FBT001 - one piece of evidence among others
    *,
    limits: Limits,
) -> Decision:
    """Decide whether two identities are one person.

    ==================  ============  ============  ==========================================
    score               same name     other name    no name to compare
    ==================  ============  ============  ==========================================
    ``same`` or more    same          unsure        same, if the images vote for it; or unsure
    ``unsure`` or more  same          different     unsure, if each other's nearest and with
                                                    half the votes; or different
    ``named`` or more   same          (not listed)  (not listed)
    less                unsure        (not listed)  (not listed)
    ==================  ============  ============  ==========================================

    The votes must be 0.15 of the image pairs compared.

    Example:
        >>> limits = Limits(same=0.6, unsure=0.5, named=0.4, image=0.45)
        >>> [decide(0.7, 60, 100, 0.2, name, limits=limits) for name in (True, False, None)]
        ['same', 'unsure', 'same']
        >>> [decide(0.5, 9, 100, 0.2, name, limits=limits) for name in (True, False, None)]
        ['same', 'different', 'unsure']
    """
    if name_match is True:
        return "same" if score >= limits.named else "unsure"
    if score >= limits.same:
        believed = votes >= max(1, VOTES * compared)
        return "same" if believed and name_match is None else "unsure"
    nearest_of_both = not margin < 0  # NaN: there is nobody else
    supported = votes >= max(1, VOTES / 2 * compared)
    if score >= limits.unsure and name_match is None and nearest_of_both and supported:
        return "unsure"
    return "different"


def pair_scores(left: Gallery, right: Gallery, a: Ints, b: Ints) -> Floats:
    """Score given pairs of people: the cosine of their nearest two templates, -1 for none.

    Args:
        left: A gallery.
        right: Another or the same.
        a: ``(P,)`` people of the left one.
        b: ``(P,)`` people of the right one.
    """
    return _scores(left, right, a, b)[0]


def _is_listed(
    score: float, name_a: str | None, name_b: str | None, limits: Limits, *, match: bool | None
) -> bool:
    """Tell whether a pair is worth a row.

    The same name is, whatever the score; one that only may be the same but for a typing error
    is, where the faces agree too: John Burkett is not John Burnett.
    """
    if score >= limits.unsure or (match is True and score >= limits.named):
        return True
    return match is True and _letters(name_a) == _letters(name_b)


def _letters(name: str | None) -> str:
    return (name_key(name) or "").replace(" ", "")


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
    left: Gallery, right: Gallery, near: _Near, least: float, aliases: Mapping[str, str] | None
) -> tuple[Ints, Ints]:
    """Give the pairs to look at: by score, both ways, and by name; ascending, each once."""
    width = len(right.names)
    forth = _pairs_over(near.of_left, left, right, least)
    back = _pairs_over(near.of_right, right, left, least)
    named = np.array(match_names(left.names, right.names, aliases), np.int64).reshape(-1, 2)
    # A name alone is no pair: who has no image can't be compared.
    there = np.isin(named[:, 0], left.person_of) & np.isin(named[:, 1], right.person_of)
    pairs = np.concatenate([forth, back[:, ::-1], named[there]])
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


def _votes(
    left: Gallery, right: Gallery, a: Ints, b: Ints, threshold: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Compare up to ten images of each template with each other: votes and pairs compared."""
    votes, compared = np.zeros(len(a), np.int32), np.zeros(len(a), np.int32)
    for begin in range(0, len(a), _PAIRS_AT_ONCE):
        part = slice(begin, begin + _PAIRS_AT_ONCE)
        images = (_sampled_images(left, a[part]), _sampled_images(right, b[part]))
        for at, (x, y) in enumerate(zip(*images, strict=True), begin):
            cosines = np.einsum("id,jd->ij", x, y, dtype=np.float64, optimize=False)
            votes[at], compared[at] = np.count_nonzero(cosines > threshold), cosines.size
    return votes, compared


def _sampled_images(gallery: Gallery, templates: Ints) -> Iterator[Any]:
    """Yield up to ten images (n, D) of each of some templates; each file is read once."""
    rows = []
    for template in templates.tolist():
        mine = gallery.templates.rows_of(template)
        turns = permute(np.arange(min(len(mine), IMAGES)), len(mine), _SEED + template)
        rows.append(mine[turns.astype(np.int64)])
    every = np.unique(np.concatenate([np.zeros(0, np.int64), *rows]))
    vectors = gallery.embeddings.take(every)
    return (vectors[np.searchsorted(every, each)] for each in rows)
