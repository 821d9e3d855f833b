"""What a head whose classes are spread over ranks says to the other ranks.

Each rank holds every W-th class and meets the rows of all ranks: embeddings and labels are
gathered, and two vectors of one number a row are summed. The loss is the mean over the rows of
all ranks, the same on each.

Reference:
    An et al., "Partial FC: Training 10 Million Identities on a Single Machine", ICCV Workshops
    2021, section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from fusekit.errors import LossError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def place_in(group: ProcessGroup | None) -> tuple[int, int]:
    """Give this process's rank and the number of ranks that share the classes.

    Args:
        group: The ranks; None for a process that holds all classes.

    Raises:
        LossError: This process is not in the group.
    """
    if group is None:
        return 0, 1
    if not distributed.is_available() or not distributed.is_initialized():
        raise LossError("group", "is given before torch.distributed.init_process_group")
    rank = distributed.get_rank(group)
    if rank < 0:
        raise LossError("group", "does not have this process")
    return rank, distributed.get_world_size(group)


def gather(rows: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Give the rows of all ranks, rank after rank, to each.

    The gradient that the ranks' classes have for a row is summed, and multiplied by the number of
    ranks: a data-parallel backbone averages over them, and the loss is a mean over all rows.

    Args:
        rows: ``(b, ...)``; ranks may have different numbers of rows.
        group: The ranks.

    Returns:
        ``(B, ...)``.
    """
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(_size(group))]
    distributed.all_gather(counts, counts[0].new_tensor([len(rows)]), group)
    gathered: torch.Tensor = _Gather.apply(rows, [int(count) for count in counts], group)
    return gathered


def sum_over_ranks(values: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Give the sum over ranks to each.

    Every rank computes the same loss from it, so a rank's gradient is its own.

    Args:
        values: Of one shape on all ranks.
        group: The ranks.
    """
    summed: torch.Tensor = _Sum.apply(values, group)
    return summed


def log_sum_over_ranks(logs: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Give the logarithm of the sum over ranks of e^logs to each.

    Args:
        logs: Of one shape on all ranks.
        group: The ranks.
    """
    top = logs.detach().clone()
    distributed.all_reduce(top, distributed.ReduceOp.MAX, group)
    return top + sum_over_ranks((logs - top).exp(), group).log()


def gather_centres(weight: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Put the class centres of all ranks in the classes' order, on each rank.

    Args:
        weight: This rank's, ``(C_r, D)``: classes ``rank``, ``rank + W``, ...
        group: The ranks.

    Returns:
        ``(C, D)``, without gradient.
    """
    parts = gather(weight.detach(), group)
    size, total = _size(group), len(parts)
    classes = torch.cat([torch.arange(rank, total, size) for rank in range(size)])
    return torch.empty_like(parts).index_copy_(0, classes.to(parts.device), parts)


class _Gather(torch.autograd.Function):  # type: ignore[misc] # torch is not seen by the checker
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's context takes any attribute
        rows: torch.Tensor,
        counts: list[int],
        group: ProcessGroup,
    ) -> torch.Tensor:
        ctx.counts, ctx.group = counts, group
        most = max(counts)  # gloo and NCCL gather equal shapes
        padded = rows.new_zeros((most, *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded, group)
        return torch.cat([part[:n] for part, n in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # noqa: ANN401
        total = gradient.contiguous().clone()
        distributed.all_reduce(total, distributed.ReduceOp.SUM, ctx.group)
        own = total.split(ctx.counts)[distributed.get_rank(ctx.group)]
        return own * len(ctx.counts), None, None


class _Sum(torch.autograd.Function):  # type: ignore[misc] # torch is not seen by the checker
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, group: ProcessGroup) -> torch.Tensor:  # noqa: ANN401, ARG004
        total = values.clone()
        distributed.all_reduce(total, distributed.ReduceOp.SUM, group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # noqa: ANN401, ARG004
        return gradient, None


def _size(group: ProcessGroup) -> int:
    return int(distributed.get_world_size(group))
