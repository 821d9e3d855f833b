"""Galleries: the people of a dataset with what they show of strangers, ready to be compared."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fusekit.curate.names import person_name
from fusekit.curate.templates import Templates, make_templates
from fusekit.curate.thresholds import (
    Doubles,
    Strangers,
    half_scores,
    image_strangers,
    template_strangers,
)

if TYPE_CHECKING:
    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingSet


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
    def has_name(self) -> npt.NDArray[np.bool_]:
        """Tell who of :attr:`names` has a name."""
        return np.array([name is not None for name in self.names], np.bool_)

    @cached_property
    def halves(self) -> Doubles:
        """Give how halves of a person's images score, float64 ``(F,)``: recall is judged by it."""
        return half_scores(self.templates, self.embeddings)

    @cached_property
    def person_of(self) -> npt.NDArray[np.int32]:
        """Give whose each template is, int32 ``(T,)`` ascending; of samples, each its own."""
        if self.templates.identities:
            return self.templates.of_identity
        return np.arange(len(self.templates.centres), dtype=np.int32)


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
