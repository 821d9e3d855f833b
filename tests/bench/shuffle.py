"""How well do the loader and its peers shuffle? Prints one table.

    PYTHONPATH=tests python tests/bench/shuffle.py [--rows 2000000] [--markdown]

Ten datasets of very different sizes lie one after another on disk, 20 images of each identity.
Every shuffle gives a whole pass, cut into batches of 512:

* neighbours: how far two rows that are neighbours on disk come apart, the median, as a part of
  what a whole shuffle gives; 1 is a whole shuffle.
* datasets: how a batch's counts of the datasets spread, as variance over the multinomial's; 1 is
  what a whole shuffle gives, less is more even, more is lumpier.
* identities: the same of the identities' counts: once with rows that lie sorted by identity, as
  record files and image folders are, and once with rows that lie as fusekit stores them, each
  dataset's in a random order.

The peers' orders are made by their own code (``bench/peers/orders.py``), for one process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from support.bench_peers import make_environment
from support.benchmarks import machine, replace_section, table, today, versions

from fusekit.loader.order.order import BLOCK, WINDOW, Order, OrderSettings

SHARES = (0.30, 0.26, 0.15, 0.12, 0.08, 0.04, 0.02, 0.015, 0.010, 0.005)
IMAGES = 20
SHARD = 8192
BATCH = 512
HEAD = ["", "rows of a window", "neighbours", "datasets", "identities, sorted", "as stored"]


class Rows:
    """What lies at each place of the disk.

    Attributes:
        dataset: Of each place.
        sorted: Identity of each place, sorted by identity in every dataset.
        stored: The same with every dataset in a random order.
    """

    def __init__(self, count):
        self.sizes = [int(count * share) // IMAGES * IMAGES for share in SHARES]
        self.count = sum(self.sizes)
        self.dataset = np.repeat(np.arange(len(SHARES)), self.sizes)
        self.sorted = np.arange(self.count) // IMAGES
        rng, start = np.random.default_rng(0), 0
        self.stored = self.sorted.copy()
        for size in self.sizes:
            rng.shuffle(self.stored[start : start + size])
            start += size


def neighbours(order):
    """The median distance of two neighbours in the order, over that of a whole shuffle."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    # Of two random places of n, half are less than (1 - sqrt(1/2)) n apart.
    return float(np.median(np.abs(np.diff(place)))) / (len(order) * (1 - 0.5**0.5))


def spread(values, order, kinds):
    """Variance of a batch's counts over the multinomial's, all kinds and batches together."""
    batches = len(order) // BATCH
    found = values[order[: batches * BATCH]].reshape(batches, BATCH)
    share = np.bincount(values, minlength=kinds) / len(values)
    # The sum of (n - Bp)^2 / Bp over the kinds, which is sum(n^2 / Bp) - B.
    flat = np.arange(batches)[:, None] * kinds + found
    which, counts = np.unique(flat, return_counts=True)
    chi = (counts.astype(float) ** 2 / (BATCH * share[which % kinds])).sum() / batches - BATCH
    return chi / (kinds - 1)


def measure(rows, order):
    people = rows.count // IMAGES
    return [
        neighbours(order), spread(rows.dataset, order, len(SHARES)),
        spread(rows.sorted, order, people), spread(rows.stored, order, people),
    ]  # fmt: skip


def own_order(rows, block, window, weights=None):
    """One pass of the loader's own order."""
    settings = OrderSettings(1, BATCH, Fraction(0), weights, block=block, window=window)
    order = Order(rows.sizes, [], settings)
    steps = rows.count // BATCH
    return np.concatenate([order.plan(step, 0, 1).rows for step in range(steps)])


def own_cases(rows):
    one = SHARD // BLOCK
    for title, block, window in (
        ("fusekit, one shard", SHARD, 1),
        ("fusekit, blocks of one shard", BLOCK, one),
        ("fusekit, of 4 shards", BLOCK, 4 * one),
        ("fusekit, of 16 shards: default", BLOCK, WINDOW),
        ("fusekit, of 64 shards", BLOCK, 64 * one),
        ("fusekit, all rows", 1, rows.count),
    ):
        yield title, min(block * window, rows.count), (block, window)
    by_images = tuple(rows.sizes)
    yield "fusekit, default, weights by images", BLOCK * WINDOW, (BLOCK, WINDOW, by_images)


def complete(rows, order):
    """Add what the last step of a pass left over, so that every row has its place."""
    seen = np.zeros(rows.count, bool)
    seen[order] = True
    left = np.flatnonzero(~seen)
    _, first = np.unique(order, return_index=True)
    return np.concatenate([order[np.sort(first)], left])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--markdown", action="store_true", help="the section of the docs alone")
    parser.add_argument("--into", type=Path, help="rewrite the section in this document")
    asked = parser.parse_args()
    rows = Rows(asked.rows // 10 if asked.quick else asked.rows)
    found = {}
    for title, window, settings in own_cases(rows):
        if not asked.markdown:
            print(title, file=sys.stderr)
        found[title] = [window, *measure(rows, complete(rows, own_order(rows, *settings)))]
    errors = {}
    with tempfile.TemporaryDirectory() as name:
        script = Path(__file__).parent / "peers" / "orders.py"
        subprocess.run(
            [make_environment(), script, name, str(rows.count), str(SHARD)],
            check=True, stdout=sys.stderr,
        )  # fmt: skip
        for about in json.loads(Path(name, "orders.json").read_bytes()):
            if about["error"]:
                errors[about["title"]] = about["error"]
            else:
                order = np.load(Path(name, about["file"]))
                found[about["title"]] = [None, *measure(rows, complete(rows, order))]
    whole = np.random.default_rng(2).permutation(rows.count)
    found["whole shuffle (torch RandomSampler, HF map)"] = [rows.count, *measure(rows, whole)]
    lines = [
        [title, f"{window:,}" if window else "", *(f"{value:.3g}" for value in values)]
        for title, (window, *values) in found.items()
    ]
    lines += [[title, error[:60], "", "", "", ""] for title, error in errors.items()]
    text = (
        f"{machine()}; {versions('fusekit', 'numpy')}; {today()}.\n"
        f"{rows.count:,} rows of {len(SHARES)} datasets in shards of {SHARD:,}, batches of {BATCH}."
        f"\n\n{table(HEAD, lines)}\n"
    )
    print(text)
    if asked.into:
        replace_section(asked.into, "shuffle", text)
    if asked.json:
        asked.json.write_text(json.dumps({"found": found, "errors": errors}, indent=1))


if __name__ == "__main__":
    main()
