"""The cosines that tell label noise, each from how a dataset's identities score on each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusekit.curate.dominant import take
from fusekit.curate.graph import exact_rows
from fusekit.curate.thresholds import (
    PROBES,
    Strangers,
    fit_strangers,
    image_strangers,
    probes,
    template_strangers,
)
from fusekit.errors import FindingError

if TYPE_CHECKING:
    from fusekit.curate.templates import Templates
    from fusekit.store.embeddings import EmbeddingSet

EDGE: Final = 1e-3
"""Share of pairs of strangers' images that are connected by mistake."""
APART: Final = 0.005
"""Share of pairs of strangers whose centres are nearer than two people of one identity."""
FAR_APART: Final = 0.05
"""The same for two of whom it is clear."""
SAME: Final = 1e-6
"""Share of pairs of strangers who would be taken for one person under two identities."""
CLEAR: Final = 10
"""A sample is clearly unlike when so many times as many strangers score higher."""

_BINS: Final = 40_000  # what fit_strangers takes: of the cosine, from -1 to 1
_BLOCK: Final = 8_192


@dataclass(frozen=True)
class NoiseThresholds:
    """The cosines, rounded.

    Attributes:
        edge: Two samples of an identity are alike from here on.
        outlier: A sample belongs to a centre from here on.
        clear: A sample is clearly unlike a centre below.
        search: The best of all other identities is no chance from here on, and a sample that
            scores so much with its own centre belongs there.
        margin: How much nearer the other identity must be.
        apart: Centres of two clusters are two people's up to here.
        far_apart: They clearly are up to here.
        same: Two identities are the same person from here on.
    """

    edge: float
    outlier: float
    clear: float
    search: float
    margin: float
    apart: float
    far_apart: float
    same: float


def noise_thresholds(
    templates: Templates, embeddings: EmbeddingSet, false_match: float
) -> NoiseThresholds:
    """Derive the thresholds of a dataset.

    Args:
        templates: Of its identities.
        embeddings: Of the same dataset.
        false_match: Share of strangers' images that may pass as an identity's own.

    Raises:
        FindingError: Fewer than two identities have images.
    """
    identities = len(np.unique(templates.of_identity))
    if identities < 2:
        raise FindingError(
            templates.dataset, f"{identities} identities have images with embeddings",
            "two or more: strangers tell what a wrong face scores",
        )  # fmt: skip
    images = image_strangers([(templates, embeddings)])
    centres = template_strangers([templates])
    single = _image_to_centre(templates, embeddings, identities)
    outlier = single.threshold(false_match)
    # The best of n strangers exceeds what one of them exceeds at an n-th of the rate.
    search = max(outlier, single.threshold(false_match / (identities - 1)))
    return NoiseThresholds(
        edge=max(images.threshold(EDGE), 0.01),
        outlier=outlier,
        clear=single.threshold(min(CLEAR * false_match, 0.5)),
        search=search,
        margin=round(search - outlier, 4),
        apart=centres.threshold(APART),
        far_apart=centres.threshold(FAR_APART),
        same=centres.threshold(SAME),
    )


def _image_to_centre(templates: Templates, embeddings: EmbeddingSet, identities: int) -> Strangers:
    """Score images against the templates of others: at most 2,048 images, one of a template."""
    chosen = probes(len(templates.centres), PROBES)
    rows = templates.rows[(templates.starts[chosen] + templates.starts[chosen + 1]) // 2]
    vectors, centres = take(embeddings, rows), exact_rows(templates.centres)
    counts = np.zeros(_BINS, np.int64)
    for begin in range(0, len(centres), _BLOCK):
        cosines = vectors @ centres[begin : begin + _BLOCK].T  # (P, block)
        others = (
            templates.of_identity[chosen][:, None] != templates.of_identity[begin : begin + _BLOCK]
        )
        counts += np.histogram(cosines[others], _BINS, (-1, 1))[0]
    return fit_strangers(counts, identities)
