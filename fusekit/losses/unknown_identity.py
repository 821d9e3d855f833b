"""Unknown identity rejection: a face of nobody known should be nobody to the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch.nn.functional import linear, normalize

from fusekit.errors import LossError
from fusekit.losses.precision import full_precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Form = Literal["double", "log"]
Scope = Literal["all", "dataset"]


@full_precision
def uir_loss(
    logits: Tensor,
    form: Form = "double",
    scope: Scope = "all",
    class_ranges: Tensor | Sequence[tuple[int, int]] | None = None,
) -> Tensor:
    """Ask that unlabeled faces activate no known identity more than another.

    Computed in float32, also under autocast. Gradients reach whatever made the logits: the
    backbone through the embeddings, and the head through its class centres, which it pushes
    away from the unlabeled faces. The paper adds it with weight 0.1 to the loss of the labeled
    rows. The loss of no rows is 0, since a small share of unlabeled rows leaves some batches
    without.

    Args:
        logits: ``(U, C)``, of unlabeled rows only, from :func:`cosine_logits`.
        form: ``double`` is the paper's second softmax, ``log`` its formula before that; see
            :func:`doubly_normalised` and :func:`log_normalised`.
        scope: ``all`` has one softmax over all classes, as the paper; ``dataset`` one over the
            classes of each labeled dataset, and the mean of their losses, which is for heads
            trained with a softmax per dataset (ours).
        class_ranges: First and one past the last class of each labeled dataset, ``(K, 2)``, as
            :attr:`Mixture.class_ranges`; needed for ``dataset`` alone.

    Returns:
        The mean over rows, a scalar; its least value, where no class is preferred, is 0 for
        ``double`` and log C for ``log``.

    Raises:
        LossError: The logits are no matrix of floating numbers with a class, a name is not one of
            those above, or ranges are missing, empty or not inside the classes.

    Example:
        >>> sure, unsure = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> bool(uir_loss(sure) > uir_loss(unsure))
        True

    Reference:
        Yu et al., "Unknown Identity Rejection Loss: Utilizing Unlabeled Data for Face
        Recognition", ICCV Workshops 2019, section 3.1 and its "Numerical stability".
    """
    if logits.ndim != 2 or not logits.is_floating_point() or logits.shape[1] == 0:
        raise LossError(
            "logits",
            f"are {logits.dtype} of the shape {tuple(logits.shape)}",
            "floating numbers of the shape (rows, classes)",
        )
    parts = [logits[:, start:stop] for start, stop in _ranges(scope, class_ranges, logits)]
    each = torch.stack([_row_losses(part, form) for part in parts])  # (K, U)
    return each.mean(dim=0).sum() / max(len(logits), 1)


@full_precision
def cosine_logits(embeddings: Tensor, weight: Tensor, scale: float = 64.0) -> Tensor:
    """Give s · cos θ of each row with each class centre, without margin: what the loss takes.

    A margin asks for more of a row's own class, and unlabeled rows have none.

    Args:
        embeddings: Of unlabeled rows, ``(U, D)``; normalised here.
        weight: Class centres, ``(C, D)``; normalised here. :attr:`DatasetAwareHead.weight` is one.
        scale: s, above 0; the paper's is 64. It should be the head's own.

    Returns:
        ``(U, C)``, float32.

    Raises:
        LossError: The two don't have one number of dimensions, or the scale is not above 0.

    Example:
        >>> cosine_logits(3 * torch.eye(2), torch.eye(2), 64.0).tolist()
        [[64.0, 0.0], [0.0, 64.0]]

    Reference:
        Yu et al. 2019, section 4.1, "Networks".
    """
    if embeddings.ndim != 2 or weight.ndim != 2 or embeddings.shape[1] != weight.shape[1]:
        raise LossError(
            "embeddings, weight",
            f"have the shapes {tuple(embeddings.shape)}, {tuple(weight.shape)}",
            "(rows, D) and (classes, D)",
        )
    if not scale > 0:
        raise LossError("scale", f"is {scale}", "a number above 0")
    return scale * linear(normalize(embeddings, dim=1), normalize(weight, dim=1))


def doubly_normalised(logits: Tensor) -> Tensor:
    r"""Take -Σ log softmax(p), p the softmax, less what it is for equal p.

    With all p equal the sum is its smallest, n log n: a constant of 10⁶ for 90,000 classes,
    beside which float32 cannot see the loss itself, which is never above e - 2. So

        -Σ_j log softmax(p)_j = Σ_j (log Σ_i e^{p_i} - p_j) = n log Σ_i e^{p_i} - 1
                              = n log n + n log(1 + mean(e^p - 1)) - 1.

    Its gradient at logit j, p_j (e^{p_j} - Σ p_i e^{p_i}) up to a factor near 1, vanishes for a
    row whose p is all on one class: a known face among the unlabeled ones is spared.

    Args:
        logits: ``(U, n)``.

    Returns:
        ``(U,)``, from 0 to below e - 2.
    """
    activations = logits.softmax(dim=1)  # (U, n), the paper's p
    # The formula's 1 is the sum of p as it came out: 90,000 terms of a float32 softmax add up to
    # 1 within 0.0001, an error that is in both terms and so leaves their difference.
    one = activations.sum(dim=1)  # (U,)
    return logits.shape[1] * activations.expm1().mean(dim=1).log1p() - one  # (U,)


def log_normalised(logits: Tensor) -> Tensor:
    """Take -mean log p, p the softmax: the paper's formula per class.

    Its gradient at logit j is p_j - 1/n: strongest for a row whose p is all on one class, so a
    known face among the unlabeled ones is torn from its own centre.

    Args:
        logits: ``(U, n)``.

    Returns:
        ``(U,)``, log n (where all p are equal) or more, without bound.
    """
    return -logits.log_softmax(dim=1).mean(dim=1)  # (U,)


def _row_losses(logits: Tensor, form: Form) -> Tensor:
    match form:
        case "double":
            return doubly_normalised(logits)
        case "log":
            return log_normalised(logits)
        case _:
            raise LossError("form", f"is {form!r}", "double or log")


def _ranges(
    scope: Scope, class_ranges: Tensor | Sequence[tuple[int, int]] | None, logits: Tensor
) -> list[tuple[int, int]]:
    match scope:
        case "all":
            return [(0, logits.shape[1])]
        case "dataset":
            return _dataset_ranges(class_ranges, logits.shape[1])
        case _:
            raise LossError("scope", f"is {scope!r}", "all or dataset")


def _dataset_ranges(
    class_ranges: Tensor | Sequence[tuple[int, int]] | None, classes: int
) -> list[tuple[int, int]]:
    if class_ranges is None or len(class_ranges) == 0:
        raise LossError(
            "class_ranges", "are missing", "a range of classes for each labeled dataset"
        )
    ranges = [(int(start), int(stop)) for start, stop in class_ranges]
    for start, stop in ranges:
        if not 0 <= start < stop <= classes:
            raise LossError("class_ranges", f"[{start}, {stop}) is no range of {classes} classes")
    return ranges
