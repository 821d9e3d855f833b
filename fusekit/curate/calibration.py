"""Fit the two numbers that prototypes need: each dataset's softmax scale, and one cosine.

Both come from known people's own images. Each image in turn is scored as a *known* person would
be, against centres from which it was taken out (a held-out image), and as a *stranger* would be,
against the centres of all others (a held-out identity). ``docs/explanation/activations.md`` gives
the reasons and what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fusekit.curate.prototypes import unit_rows
from fusekit.errors import FindingError
from fusekit.rng import derive, permute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.curate.prototypes import Prototypes
    from fusekit.store.embeddings import EmbeddingSet, Vectors

REFERENCE_ACTIVATION: Final = 0.9
"""The activation that the scales are fitted for: the paper's threshold."""
FALSE_MATCH: Final = 0.01
OWN_LOW: Final = 0.05
IMAGES: Final = 2_048
"""Most images of a dataset that the fit looks at."""
CONVENTIONAL_SCALE: Final = 64.0
"""Of a dataset with one known person, whose softmax is 1 at any scale."""
VERSION: Final = 1
CLASS_BLOCK: Final = 8_192

# Quarter octaves from 4 to 1,024. Squaring doubles a scale: exp(2sx) = exp(sx)^2.
_PHASES, _OCTAVES = 4, 8
SCALES: Final = np.array(
    [2.0 ** (2 + octave + phase / _PHASES) for octave in range(_OCTAVES) for phase in
     range(_PHASES)] + [1024.0]
)  # fmt: skip
_BINS: Final = 20_000  # of the cosine, from -1 to 1
_SEED: Final = derive("activations", "held-out images")


@dataclass(frozen=True)
class Calibration:
    """What was fitted for one dataset, and what it gives on held-out images.

    Attributes:
        dataset: Its name.
        images: How many images were looked at.
        scale: Of its softmax.
        known: Share of held-out images of known people above an activation of 0.9.
        strangers: Share of images of held-out identities above it.
        people: How many known people were looked at.
        own: The cosine with their own centre that 5 % of the held-out images lie under.
        impostors: int64 ``(20000,)``, how many cosines of an image with another's centre fall
            into each of the equal bins from -1 to 1.
    """

    dataset: str
    images: int
    scale: float
    known: float
    strangers: float
    people: int
    own: float
    impostors: npt.NDArray[np.int64]


def calibrate(prototypes: Prototypes, embeddings: EmbeddingSet, datasets: int) -> Calibration:
    """Fit a dataset's scale.

    The scale is the one at which an activation of 0.9 best tells known people from strangers:
    the largest share of held-out images above it, less the share of strangers above it for each
    of the datasets, since a stranger meets them all. Among equally good ones, the middle.

    Args:
        prototypes: The dataset's known people.
        embeddings: The dataset's embeddings.
        datasets: How many datasets an unlabeled sample will be compared with.
    """
    who, rows = held_out(prototypes)
    order = np.argsort(rows, kind="stable")
    who, rows = who[order], rows[order]
    vectors = embeddings.take(rows)  # (F, D)
    rest = unit_rows(prototypes.sums[who] - vectors)  # no image is scored on itself
    own = (rest * vectors).sum(axis=1, dtype=np.float64)  # (F,)
    known, strangers, impostors = _accepted(vectors, who, own, prototypes.centres)
    best = 0
    if len(prototypes.identities) > 1:
        gain = known - datasets * strangers
        ties = np.flatnonzero(gain >= gain.max() - 1e-9)
        best = int(ties[len(ties) // 2])
    scale = float(SCALES[best]) if len(prototypes.identities) > 1 else CONVENTIONAL_SCALE
    return Calibration(
        dataset=prototypes.dataset, images=len(rows), scale=scale, known=float(known[best]),
        strangers=float(strangers[best]), people=len(np.unique(who)),
        own=round(float(np.quantile(own, OWN_LOW)), 3), impostors=impostors,
    )  # fmt: skip


def cosine_threshold(calibrations: Sequence[Calibration]) -> float:
    """Give the cosine above which 1 % of the comparisons of different people lie.

    Only people of the same dataset are compared: those of two may be the same. Each dataset
    counts alike, whatever its size. With fewer than 100 pairs of people one in a hundred can't be
    seen, and the threshold is moved up, halfway to the cosine that all but 5 % of the held-out
    images reach with their own centre.

    Raises:
        FindingError: No dataset has two known people.
    """
    told = [c.impostors for c in calibrations if c.impostors.any()]
    if not told:
        names = ", ".join(c.dataset for c in calibrations)
        raise FindingError(
            names, "one known identity with 2 images", "two in a dataset, or more",
            "give a dataset of more people with --against, or a trained head with --head",
        )  # fmt: skip
    # (bins,): share of comparisons in this bin or above
    above = np.mean([count[::-1].cumsum()[::-1] / count.sum() for count in told], axis=0)
    first = int(np.argmax(np.append(above, 0) <= FALSE_MATCH))
    threshold = 2 * first / _BINS - 1
    if sum(c.people * (c.people - 1) // 2 for c in calibrations) * FALSE_MATCH < 1:
        own = float(np.mean([c.own for c in calibrations]))
        threshold = max(threshold, (threshold + own) / 2)
    return round(threshold, 6)


def held_out(
    prototypes: Prototypes,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose the images that the fit looks at: as many of each person, at most 2,048 in all.

    Returns:
        ``(F,)`` positions of the people and ``(F,)`` row numbers of their images.
    """
    count = len(prototypes.identities)
    people = np.sort(permute(np.arange(min(count, IMAGES)), count, _SEED).astype(np.int64))
    each = max(1, IMAGES // len(people))
    images = np.minimum(prototypes.counts[people], each)
    who = np.repeat(people, images)
    turn = np.arange(len(who)) - np.repeat(np.cumsum(images) - images, images)
    keys = who.astype(np.uint64) + np.uint64(_SEED)
    ordinal = permute(turn, prototypes.counts[who], keys).astype(np.int64)
    return who, prototypes.members[prototypes.rows[who] + ordinal]


def _accepted(
    vectors: Vectors,
    who: npt.NDArray[np.int64],
    own: npt.NDArray[np.float64],
    centres: Vectors,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Give the shares of known people and of strangers above 0.9 at each scale, and impostors."""
    top = np.full(len(vectors), -np.inf)  # largest cosine with the others' centres
    total = np.zeros((len(SCALES), len(vectors)))  # sum over the others of exp(s (cosine - top))
    impostors = np.zeros(_BINS, np.int64)
    for begin in range(0, len(centres), CLASS_BLOCK):
        cosines = vectors @ centres[begin : begin + CLASS_BLOCK].T  # (F, block)
        mine = np.flatnonzero((who >= begin) & (who < begin + cosines.shape[1]))
        others = np.ones(cosines.shape, np.bool_)
        others[mine, who[mine] - begin] = False
        impostors += np.histogram(cosines[others].clip(-1, 1), _BINS, (-1, 1))[0]
        cosines[~others] = -np.inf
        grown = np.maximum(top, cosines.max(axis=1))
        met = np.isfinite(grown)  # False while only the own centre was seen
        cosines -= np.where(met, grown, 0)[:, None]
        with np.errstate(under="ignore", invalid="ignore"):
            total *= np.where(met, np.exp(SCALES[:, None] * (top - grown)), 1)
            _add_exponentials(cosines, total)
        top = grown
    with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
        stranger = np.where(total > 0, 1 / total, 0)  # (S, F)
        high = np.maximum(top, own)
        both = total * np.exp(SCALES[:, None] * (top - high))
        known = 1 / (np.where(total > 0, both, 0) + np.exp(SCALES[:, None] * (own - high)))
    limit = REFERENCE_ACTIVATION
    return (known > limit).mean(axis=1), (stranger > limit).mean(axis=1), impostors


def _add_exponentials(below: Vectors, total: npt.NDArray[np.float64]) -> None:
    """Add to ``total`` (S, F) the sums of exp(s * below) over the columns, for every scale."""
    for phase in range(_PHASES):
        power = np.exp(np.float32(SCALES[phase]) * below)
        for place in range(phase, len(SCALES), _PHASES):
            total[place] += power.sum(axis=1, dtype=np.float64)
            np.multiply(power, power, out=power)
