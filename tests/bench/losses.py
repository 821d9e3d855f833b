"""What does the dataset-aware head save over a mask of all classes? Prints one table.

    PYTHONPATH=tests OMP_NUM_THREADS=1 python tests/bench/losses.py [--into docs/benchmarks.md]

Forward and backward of one batch, drawn evenly from K datasets of as many classes: once each row
with its own dataset's slice of the weights, once with all of them and a mask. Both start from the
same raw embeddings and centres, and end in the gradients of both.
"""

import argparse
import math
import statistics
import time
from pathlib import Path

import torch
from support.benchmarks import machine, replace_section, table, today, versions
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from fusekit.losses import DatasetAwareHead

SCALE, MARGIN = 64.0, 0.5
CASES = [
    # datasets, classes, dimensions, rows: the paper's two networks, and what K does
    (10, 20_000, 512, 256), (10, 20_000, 128, 512), (10, 60_000, 512, 256),
    (5, 20_000, 512, 256), (2, 20_000, 512, 256), (1, 20_000, 512, 256),
]  # fmt: skip
HEAD = [
    "datasets, classes, numbers, rows", "mask, ms", "own range, ms", "times as fast", "K/2",
    "loss apart", "gradients apart", "SGD, ms",
]  # fmt: skip


def masked(embeddings, weight, labels, owner):
    """The same loss over all classes: what there is without the slices."""
    cosine = F.normalize(embeddings) @ F.normalize(weight).T  # (B, C)
    own = cosine.gather(1, labels[:, None])
    sine = (1 - own * own).clamp_min(1e-9).sqrt()
    turned = own * math.cos(MARGIN) - sine * math.sin(MARGIN)
    target = torch.where(own > -math.cos(MARGIN), turned, own - MARGIN * math.sin(MARGIN))
    logits = SCALE * cosine.scatter(1, labels[:, None], target)
    return F.cross_entropy(
        logits.masked_fill(owner[labels][:, None] != owner[None], -math.inf), labels
    )


def measure(steps, repeats):
    """Median seconds of each, taking turns; processor time, since other work may run here."""
    for step in steps:
        step()
    times = [[] for _ in steps]
    for _ in range(repeats):
        for step, of_step in zip(steps, times, strict=True):
            start = time.process_time()
            step()
            of_step.append(time.process_time() - start)
    return [statistics.median(of_step) for of_step in times]


def compare(datasets, classes, dimensions, rows, repeats):
    size = classes // datasets
    ranges = [(k * size, (k + 1) * size) for k in range(datasets)]
    owner = torch.arange(classes) // size
    head = DatasetAwareHead(ranges, dimensions, scale=SCALE, margin=MARGIN)
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(size, (rows,), generator=generator)
    labels += size * (torch.arange(rows) % datasets)
    # Near their centres, as in a training under way; farther, all of a loss is the margin.
    noise = 2 * torch.randn(rows, dimensions, generator=generator)
    embeddings = (head.weight.detach()[labels] * 100 + noise).requires_grad_()
    inputs = (embeddings, head.weight)

    def own_range():
        return torch.autograd.grad(head(embeddings, labels), inputs)

    def mask():
        return torch.autograd.grad(masked(*inputs, labels, owner), inputs)

    optimiser = torch.optim.SGD([head.weight], lr=1e-9, momentum=0.9)
    head.weight.grad = torch.zeros_like(head.weight)
    losses = head(embeddings, labels).item(), masked(*inputs, labels, owner).item()
    apart = max(
        ((a - b).norm() / b.norm()).item() for a, b in zip(own_range(), mask(), strict=True)
    )
    slow, fast, update = measure([mask, own_range, optimiser.step], repeats)
    return [
        f"{datasets}, {classes:,}, {dimensions}, {rows}", f"{slow * 1e3:.0f}", f"{fast * 1e3:.0f}",
        f"{slow / fast:.1f}", f"{datasets / 2:g}", f"{abs(losses[0] - losses[1]) / losses[1]:.0e}",
        f"{apart:.0e}", f"{update * 1e3:.0f}",
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="the first case alone")
    parser.add_argument("--into", type=Path, help="rewrite the section in this document")
    asked = parser.parse_args()
    rows = [compare(*case, asked.repeats) for case in CASES[: 1 if asked.quick else None]]
    text = (
        f"{machine()}; {versions('fusekit', 'torch')}; {today()}.\n"
        f"ArcFace, float32, {torch.get_num_threads()} thread(s); processor time, median of "
        f"{asked.repeats} that take turns. Apart: relative.\n\n{table(HEAD, rows)}\n"
    )
    print(text)
    if asked.into:
        replace_section(asked.into, "losses", text)


if __name__ == "__main__":
    main()
