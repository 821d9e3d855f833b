"""The dataset-aware softmax: each row against the classes of its own dataset.

    L_i = -log( e^{z_y} / (e^{z_y} + sum_{j != y} 1[k_j = k_y] e^{z_j}) )

A person may be in several datasets, as a class of each. In one softmax over all classes these
classes push each other's images away; here they never meet. Only the row's own classes are
multiplied: rows are sorted by dataset, and each group meets its slice of the weights.

A step goes in two halves: ``row_plan.py`` decides in integers who meets whom, and :func:`compare`
multiplies. A head whose classes are spread over ranks (``sharded.py``) is the same
two with three sums over ranks after them.

Reference:
    The dataset-aware training paper (docs/explanation/dataset-aware-softmax.md), equations 2 to 4
    and, for crossing dropout, 11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from fusekit.errors import LossError
from fusekit.losses.class_sets import ClassSets, gather_rows, integers
from fusekit.losses.crossing import Crossing
from fusekit.losses.do_not_repel import DoNotRepel
from fusekit.losses.precision import full_precision
from fusekit.losses.row_plan import Meeting, plan_rows
from fusekit.losses.sharded import (
    gather,
    gather_centres,
    log_sum_over_ranks,
    place_in,
    sum_over_ranks,
)
from fusekit.losses.similarity import Similarity
from fusekit.rng import derive

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch.distributed import ProcessGroup

    from fusekit.losses.class_sets import I64
    from fusekit.losses.margins import BeyondPi, Loss, MarginGradient
    from fusekit.losses.row_plan import Plan

# What a product is set to that takes no part. Finite, so that a softmax of none but these has
# finite gradients; e^it is 0 in float32 and float64.
_HIDDEN = -1e30
_PAIRS_PER_CLASS = 4  # up to so many rows a crossing class, pairs are multiplied one by one
_INITIAL_STD = 0.01  # of weights, as InsightFace's
_INITIAL_ROWS = 4096  # drawn at once, so that ranks draw their rows of any head in little memory


def compare(
    embeddings: torch.Tensor, weight: torch.Tensor, plan: Plan, similarity: Similarity
) -> tuple[torch.Tensor, torch.Tensor]:
    """Multiply the rows of a batch with the weights that they meet.

    Args:
        embeddings: ``(B, D)``, float32 or float64.
        weight: ``(C, D)``, or a rank's rows of it.
        plan: Who meets whom.
        similarity: How they are compared.

    Returns:
        Both ``(B,)``, in the plan's order: z of the own class, 0 where this rank does not hold
        it; and the logarithm of the sum of e^z over the others.
    """
    order = torch.from_numpy(plan.order).to(embeddings.device)
    x = embeddings[order]
    if not plan.parts:
        return x.sum(1), x.sum(1)  # of no rows
    centres, slices = gather_rows(weight, [part.columns for part in plan.parts])
    products = similarity.products(x, centres, [part.rows for part in plan.parts], slices)
    own, others = [], []
    for part, product in zip(plan.parts, products, strict=True):  # (b, n)
        row, column = torch.from_numpy(part.target).to(x.device)
        z = similarity.target(product[row, column])  # (t,)
        own.append(x.new_zeros(part.rows).index_put((row,), z))
        logits = similarity.logits(product)  # (b, n)
        # e^z of the own class stands apart: the sum is over the others.
        hidden = torch.from_numpy(np.concatenate([part.target, part.hidden], 1)).to(x.device)
        logits = logits.index_put(tuple(hidden), logits.new_tensor(_HIDDEN))
        none = logits.new_full((part.rows, 1), _HIDDEN)
        others.append((logits if len(part.columns) else none).logsumexp(1))
    return torch.cat(own), _with_crossing(torch.cat(others), x, weight, plan.crossing, similarity)


def row_losses(own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Give -log( e^own / (e^own + e^others) ), exact where it is small and where it is large.

    Args:
        own: z of the own class, ``(B,)``.
        others: Logarithm of the sum of e^z over the other classes, ``(B,)``.
    """
    return -F.logsigmoid(own - others)


def restore_order(losses: torch.Tensor, order: I64) -> torch.Tensor:
    """Bring values in a plan's order back to that of the batch, ``(B,)``."""
    return losses[torch.from_numpy(np.argsort(order)).to(losses.device)]


@full_precision
def dataset_aware_losses(
    embeddings: torch.Tensor,
    weight: torch.Tensor,
    plan: Plan,
    similarity: Similarity,
    group: ProcessGroup | None = None,
) -> torch.Tensor:
    """Give each row's dataset-aware softmax loss.

    Computed in float32 outside autocast; float64 stays.

    Args:
        embeddings: ``(B, D)``, raw.
        weight: Class centres, ``(C, D)``, raw; with a group this rank's.
        plan: Who meets whom, from :func:`plan_rows`.
        similarity: How they are compared.
        group: Ranks that share the classes, all of which have these embeddings; None: no others.

    Returns:
        ``(B,)``, in the order of ``embeddings``.

    Reference:
        Equations 3 and 4.
    """
    own, others = compare(embeddings, weight, plan, similarity)
    if group is not None:
        own, others = sum_over_ranks(own, group), log_sum_over_ranks(others, group)
    return restore_order(row_losses(own, others), plan.order)


class DatasetAwareHead(nn.Module):  # type: ignore[misc] # torch is not seen by the checker
    """Class centres, and the dataset-aware softmax loss of embeddings against them.

    Args:
        class_ranges: First class and one past the last of each dataset, ``(K, 2)``, as
            :attr:`fusekit.Mixture.class_ranges`; None where labels are merged.
        embedding_dim: D.
        loss: ``softmax``, ``cosine``, ``arcface``, ``cosface`` or ``sphereface``.
        scale: s of all but ``softmax``.
        margin: m; radians for ``arcface``.
        crossing_p: Probability that a class of another dataset enters a row's softmax: 0 is the
            dataset-aware softmax, 1 the plain one over all classes; the paper's is 0.0001.
        crossing_expected: Instead, how many enter a row on average.
        dataset_classes: Where labels are merged, the classes of each dataset, as
            :meth:`fusekit.Mixture.dataset_classes`; :meth:`forward` wants ``dataset_index`` then.
        sample_rate: Share of a dataset's classes that stand in for all of them, anew each step.
        do_not_repel: Pairs of classes, ``(P, 2)``, that don't push each other away.
        seed: Of the initial centres, of crossing and of sampling.
        beyond_pi: ``insightface`` or ``continuous``: ArcFace where theta + m passes pi.
        margin_gradient: ``exact``, or ``straight_through`` as InsightFace.
        product_dtype: Type that embeddings and centres are multiplied in; None: float32.
        group: Ranks that share the classes, such as ``torch.distributed.group.WORLD``: each
            holds every W-th class and meets the rows of all. The head is then no part of what
            ``DistributedDataParallel`` averages. None: this process holds all classes.

    Attributes:
        weight: Class centres, raw, ``(C, D)``; with a group, classes ``rank``, ``rank + W``, ...
        sets: The classes of each dataset.
        similarity: Loss, scale and margin.
        meeting: Crossing, sampling and masks.
        step: Step that :meth:`forward` draws by; it counts on in training mode. Set it when a
            training is resumed.

    Raises:
        LossError: An argument is out of range.

    Example:
        >>> head = DatasetAwareHead([(0, 3), (3, 5)], embedding_dim=4)
        >>> head(torch.ones(2, 4), torch.tensor([1, 4])).shape, head.weight.shape
        (torch.Size([]), torch.Size([5, 4]))

    Reference:
        The dataset-aware training paper, equations 3, 4 and 11.
    """

    def __init__(
        self,
        class_ranges: npt.ArrayLike | None,
        embedding_dim: int,
        loss: Loss = "arcface",
        scale: float = 64.0,
        margin: float = 0.5,
        crossing_p: float = 0.0,
        *,
        crossing_expected: float | None = None,
        dataset_classes: Sequence[npt.ArrayLike] | None = None,
        sample_rate: float = 1.0,
        do_not_repel: npt.ArrayLike | None = None,
        seed: int = 0,
        beyond_pi: BeyondPi = "insightface",
        margin_gradient: MarginGradient = "exact",
        product_dtype: torch.dtype | None = None,
        group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self.sets = ClassSets(class_ranges, dataset_classes)
        self.similarity = Similarity(loss, scale, margin, beyond_pi, margin_gradient, product_dtype)
        self.meeting = Meeting(
            Crossing(crossing_p, crossing_expected, seed), sample_rate,
            None if do_not_repel is None else DoNotRepel(do_not_repel, self.sets.num_classes),
        )  # fmt: skip
        self.step = 0
        self._group, (self._rank, self._world_size) = group, place_in(group)
        self.weight = nn.Parameter(initial_centres(
            self.sets.num_classes, embedding_dim, seed, self._rank, self._world_size
        ))  # fmt: skip

    def forward(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        dataset_index: torch.Tensor | None = None,
        *,
        step: int | None = None,
        first_row: int = 0,
    ) -> torch.Tensor:
        """Give the mean loss of the rows, with a group of those of all ranks; 0 of no rows.

        Args:
            embeddings: Raw, ``(B, D)``.
            labels: Class of each row, ``(B,)``, integers.
            dataset_index: Dataset of each row, ``(B,)``; None takes it from the label.
            step: Of the training; None takes :attr:`step`.
            first_row: Number of the first row in the global batch, rank * B, so that crossing
                draws apart on the ranks of a data-parallel training; with a group, 0.

        Returns:
            A scalar, float32.

        Raises:
            LossError: A label is -1, of no dataset, or not of its row's dataset, or shapes
                don't fit.
        """
        losses = self.row_losses(embeddings, labels, dataset_index, step=step, first_row=first_row)
        return losses.sum() / max(1, len(losses))

    def row_losses(
        self,
        embeddings: torch.Tensor,
        labels: torch.Tensor,
        dataset_index: torch.Tensor | None = None,
        *,
        step: int | None = None,
        first_row: int = 0,
    ) -> torch.Tensor:
        """Give the loss of each row, ``(B,)``; arguments and errors as :meth:`forward`.

        With a group the rows are those of all ranks, rank after rank.
        """
        check_shapes(embeddings, labels, self.weight)
        if self._group is not None:
            # Labels before they are checked: all ranks refuse them, and none waits for another.
            embeddings, labels = gather(embeddings, self._group), gather(labels, self._group)
            if dataset_index is not None:
                dataset_index = gather(dataset_index, self._group)
        datasets = self.sets.datasets_of(labels, dataset_index)
        plan = plan_rows(
            integers("labels", labels), datasets, self.sets, self.meeting,
            step=self.step if step is None else step, first_row=first_row,
            rank=self._rank, world_size=self._world_size,
        )  # fmt: skip
        if step is None and self.training:
            self.step += 1
        return dataset_aware_losses(embeddings, self.weight, plan, self.similarity, self._group)

    def centres(self) -> torch.Tensor:
        """Give the centres of all classes in their order, raw, without gradient, ``(C, D)``."""
        if self._group is None:
            return self.weight.detach()
        return gather_centres(self.weight, self._group)

    def extra_repr(self) -> str:
        """Say the settings, for ``print``."""
        classes, dimensions = self.weight.shape
        return (
            f"classes={classes}, datasets={len(self.sets.sets)}, embedding_dim={dimensions}, "
            f"{self.similarity}, {self.meeting.crossing}, sample_rate={self.meeting.sample_rate}"
        )


def initial_centres(
    num_classes: int, embedding_dim: int, seed: int, rank: int = 0, world_size: int = 1
) -> torch.Tensor:
    """Draw class centres: the same for each class whatever the number of ranks.

    Args:
        num_classes: C.
        embedding_dim: D.
        seed: Of the draw; torch's global generator is not touched.
        rank: Whose rows are kept: classes ``rank``, ``rank + world_size``, ...
        world_size: How many ranks share them.

    Returns:
        Normal numbers of deviation 0.01, float32, ``(C, D)`` or the rank's rows.

    Raises:
        LossError: D is not above 0.
    """
    if embedding_dim < 1:
        raise LossError("embedding_dim", f"is {embedding_dim}", "1 or more")
    pieces = []
    for first in range(0, num_classes, _INITIAL_ROWS):
        generator = torch.Generator().manual_seed(derive(seed, "centres", first) >> 1)
        rows = min(_INITIAL_ROWS, num_classes - first)
        piece = torch.randn((rows, embedding_dim), generator=generator)
        pieces.append(piece[(rank - first) % world_size :: world_size].clone())
    return torch.cat(pieces) * _INITIAL_STD


def check_shapes(embeddings: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> None:
    """Refuse embeddings that don't fit the labels or the weights.

    Raises:
        LossError: They don't.
    """
    wanted = (len(labels) if labels.ndim else 0, weight.shape[1])
    if embeddings.shape != wanted or not embeddings.is_floating_point():
        raise LossError(
            "embeddings",
            f"are {str(embeddings.dtype).removeprefix('torch.')} of the shape "
            f"{tuple(embeddings.shape)}",
            f"floats of the shape {wanted}: one row a label, as wide as the head",
        )


def _with_crossing(
    others: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    crossing: I64,
    similarity: Similarity,
) -> torch.Tensor:
    """Add e^z of the classes that cross to the sums in ``others``, ``(B,)``."""
    if not crossing.size:
        return others
    unique, column = np.unique(crossing[1], return_inverse=True)
    centres, (everything,) = gather_rows(weight, [unique])  # (U, D)
    row, column = torch.from_numpy(np.stack([crossing[0], column])).to(x.device)
    # Few pairs are multiplied one by one; many, as all rows with all classes that cross.
    if len(row) < _PAIRS_PER_CLASS * len(unique):
        z = similarity.pairs(x, centres, row, column)  # (M,)
    else:
        (product,) = similarity.products(x, centres, [len(x)], [everything])
        z = product[row, column]
    z = similarity.logits(z)
    top = others.detach().scatter_reduce(0, row, z.detach(), "amax")  # (B,)
    total = (others - top).exp().index_add(0, row, (z - top[row]).exp())
    return top + total.log()
