"""Templates: what one image, or all images of one set, are compared by.

The four forms differ in N, whether each output is brought to unit length before it enters a sum,
and F, whether an image's output is added to that of its mirror image. A set of images (a template
of IJB) is the sum over its photographs and videos of the mean over the frames of each, so that a
video of a thousand frames weighs as much as one photograph.

Reference:
    Yu et al., "Unknown Identity Rejection Loss", ICCV Workshops 2019, section 4.2 (N0F0, N0F1,
    N1F0, N1F1); Maze et al., "IARPA Janus Benchmark - C", ICB 2018 (templates and media);
    InsightFace's ``image2template_feature`` (media pooling, detector scores as weights). There N
    takes the length off an image's sum with its mirror image; here off both before it as well,
    which is the same where a face and its mirror image have outputs of one length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import UsageError
from fusekit.evaluation.scores import unit_rows

if TYPE_CHECKING:
    from fusekit.evaluation.embedders import Samples
    from fusekit.evaluation.scores import Numbers, Vectors

TemplateForm: TypeAlias = Literal["N0F0", "N0F1", "N1F0", "N1F1"]
"""N1: unit length before every sum. F1: with the mirror image."""

FORMS: Final[tuple[TemplateForm, ...]] = get_args(TemplateForm)


def check_form(form: str) -> TemplateForm:
    """Give a form back if it is one.

    Raises:
        UsageError: It is none.
    """
    for known in FORMS:
        if known == form:
            return known
    raise UsageError("--template", repr(form), ", ".join(FORMS))


def uses_mirror(form: TemplateForm) -> bool:
    """Say whether a form needs mirror images."""
    return form.endswith("F1")


def image_features(samples: Samples, form: TemplateForm) -> Vectors:
    """Give each image's feature.

    Args:
        samples: The outputs; with mirrored ones for the forms F1.
        form: Which of the four.

    Returns:
        float32 ``(N, D)``; of unit length for N1, else as long as the model says; zeros for
        erased samples.

    Example:
        >>> from fusekit.evaluation.embedders import Samples
        >>> plain, mirrored = np.array([[3.0, 4]]), np.array([[0.6, -0.8]])
        >>> samples = Samples(["a"], plain, mirrored)
        >>> image_features(samples, "N0F1").tolist(), image_features(samples, "N1F1").tolist()
        ([[3.5999999046325684, 3.200000047683716]], [[1.0, 0.0]])
    """
    outputs = [samples.plain, *([samples.mirrored] if samples.mirrored is not None else [])]
    if uses_mirror(form) and samples.mirrored is None:
        raise UsageError(form, "needs mirrored outputs", "Embeddings.of(…, mirrored=True)")
    used = outputs if uses_mirror(form) else outputs[:1]
    if form.startswith("N0"):
        summed: Vectors = np.sum(used, axis=0).astype(np.float32)
        return summed
    return unit_rows(np.sum([unit_rows(each) for each in used], axis=0))


def pool_templates(
    features: Vectors, template: Numbers, media: Numbers, weights: Vectors | None = None
) -> tuple[Numbers, Vectors]:
    """Join images' features to templates: the mean of each medium, then their sum, unit length.

    Args:
        features: ``(n, D)`` of the templates' images; an image in several stands several times.
        template: ``(n,)`` number of the image's template.
        media: ``(n,)`` number of its photograph or video in that template.
        weights: ``(n,)`` what each feature is multiplied by, such as its detector score; None: 1.

    Returns:
        ``(t,)`` the templates, ascending, and float32 ``(t, D)`` of unit length; zeros where all
        weights are 0.

    Example:
        >>> features = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
        >>> numbers, pooled = pool_templates(features, np.array([7, 7, 7]), np.array([0, 1, 1]))
        >>> numbers.tolist(), pooled.round(2).tolist()
        ([7], [[0.7099999785423279, 0.7099999785423279]])
    """
    if not len(template):
        return np.empty(0, np.int64), np.zeros((0, features.shape[1]), np.float32)
    order = np.lexsort((media, template))
    of_template, of_medium = template[order], media[order]
    new_template = np.diff(of_template, prepend=of_template[0] - 1) != 0
    new_medium = new_template | (np.diff(of_medium, prepend=of_medium[0] - 1) != 0)
    starts = np.flatnonzero(new_medium)  # (m,) first image of each medium
    weighted = features[order].astype(np.float64)
    if weights is not None:
        weighted *= weights[order][:, None]
    frames = np.diff(np.append(starts, len(order)))
    means = np.add.reduceat(weighted, starts, axis=0) / frames[:, None]  # (m, D)
    sums = np.add.reduceat(means, np.flatnonzero(new_template[starts]), axis=0)  # (t, D)
    return of_template[new_template], unit_rows(sums)


def pool_table(
    table: pa.Table, rows: Numbers, features: Vectors, *, weigh: bool
) -> tuple[Numbers, Vectors]:
    """Pool the templates of a store's table.

    Args:
        table: Columns ``template``, ``media`` (null: an image is a medium of its own) and
            ``score`` (null: 1).
        rows: ``(n,)`` row of each image in ``features``; -1: it gave no sample and is left out.
        features: ``(N, D)`` of all samples.
        weigh: Whether scores are weights.

    Returns:
        As :func:`pool_templates`; templates without a sample are not among them.
    """
    there = rows >= 0
    texts = table["media"].combine_chunks()
    numbers = pc.dictionary_encode(texts).indices.fill_null(-1).to_numpy().astype(np.int64)
    alone = numbers < 0
    numbers[alone] = numbers.max(initial=0) + 1 + np.arange(int(alone.sum()))
    scores = table["score"].fill_null(1.0).to_numpy() if weigh else None
    return pool_templates(
        features[rows[there]], table["template"].to_numpy()[there], numbers[there],
        None if scores is None else scores[there],
    )  # fmt: skip


def rows_of(keys: pa.Array, wanted: pa.ChunkedArray) -> Numbers:
    """Look up keys; -1 where one is null or not there."""
    found = pc.index_in(wanted, value_set=keys, skip_nulls=True)
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    at: Numbers = found.fill_null(-1).to_numpy().astype(np.int64)
    return at


def places_of(numbers: Numbers, wanted: Numbers) -> Numbers:
    """Look up numbers in ascending ones; -1 where one is not there."""
    if not len(numbers):
        return np.full(len(wanted), -1, np.int64)
    at = np.minimum(np.searchsorted(numbers, wanted), len(numbers) - 1)
    return np.where(numbers[at] == wanted, at, -1)
