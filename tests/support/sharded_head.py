"""One rank of a head whose classes are spread: what it gave, written for the test."""

import json
import sys
from pathlib import Path

import torch
from support.head_losses import RANGES, make_batch
from torch import distributed

from fusekit.errors import LossError
from fusekit.losses import DatasetAwareHead

LISTS = [[0, 1, 2, 5], [1, 3, 5, 6], [2, 4, 6, 7, 8, 9, 10]]
ROWS = [7, 5]  # of each rank
CASES = {
    "arcface": {},
    "softmax": {"loss": "softmax"},
    "crossing": {"crossing_p": 0.4},
    "plain": {"crossing_p": 1.0},
    "pairs": {"crossing_p": 0.4, "do_not_repel": [(0, 7), (1, 9), (5, 8), (0, 2)]},
    "merged": {"class_ranges": None, "dataset_classes": LISTS},
}


def batch():
    """The global batch: embeddings (12, 6), labels and datasets of each row; and all centres."""
    embeddings, weight, _ = make_batch(RANGES, sum(ROWS), 6, 0, torch.float64)
    labels = torch.tensor([0, 4, 5, 10, 2, 1, 8, 4, 4, 9, 3, 0])
    merged = torch.tensor([[0, 2, 0, 2, 0, 1, 2, 2, 2, 2, 1, 0], labels.tolist()])
    return embeddings.detach(), weight.detach(), labels, merged[0]


def make(case, group=None):
    options = {"class_ranges": RANGES, **CASES[case]}
    return DatasetAwareHead(
        options.pop("class_ranges"), 6, scale=16.0, seed=3, group=group, **options
    ).double()


def run(case, rank):
    """Train one step and say all of it."""
    group = distributed.group.WORLD
    embeddings, weight, labels, datasets = batch()
    head = make(case, group)
    start = head.centres()
    with torch.no_grad():
        head.weight.copy_(weight[rank::2])
    mine = slice(0, ROWS[0]) if rank == 0 else slice(ROWS[0], None)
    x = embeddings[mine].clone().requires_grad_()
    extra = [datasets[mine]] if case == "merged" else []
    loss = head(x, labels[mine], *extra)
    loss.backward()
    return {
        "start": start.tolist(), "loss": loss.item(), "to_x": x.grad.tolist(),
        "to_weight": head.weight.grad.tolist(), "centres": head.centres().tolist(),
        "rows": head.row_losses(x, labels[mine], *extra, step=0).tolist(),
    }  # fmt: skip


def refused(rank):
    """Give the line that a bad label of the other rank raises here."""
    head = make("arcface", distributed.group.WORLD)
    labels = torch.tensor([0, -1 if rank == 1 else 1])
    try:
        head(torch.ones(2, 6).double(), labels)
    except LossError as error:
        return str(error)
    return ""


def main(found, _, folder):
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    about = {case: run(case, rank) for case in CASES}
    about["refused"] = refused(rank)
    sampled = DatasetAwareHead(
        [(0, 5000)], 6, scale=1.0, sample_rate=0.1, group=distributed.group.WORLD
    )
    loss = sampled(torch.ones(2, 6), torch.tensor([rank, 77]))
    loss.backward()
    about["sampled"] = (loss.item(), int((sampled.weight.grad.norm(dim=1) > 0).sum()))
    Path(f"{found}{rank}").write_text(json.dumps(about))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
