"""Print how long a plan takes, and how well the order mixes: python tests/bench/order.py"""

import statistics
import time
from fractions import Fraction

import numpy as np

from fusekit.loader.order.identities import ClassRows, Drawing
from fusekit.loader.order.order import BLOCK, WINDOW, Order, OrderSettings
from fusekit.loader.order.planner import Planner

BATCH = 512
PER_CLASS = 40  # rows, on average; a thousand classes or so at 20,000 rows, 375,000 at 20 million
SHARES = (0.30, 0.26, 0.15, 0.12, 0.08, 0.04, 0.02, 0.015, 0.010, 0.005)


def selection(rows):
    """Ten labeled sources of very different sizes, three quarters of all; one unlabeled."""
    return [max(1, int(rows * 0.75 * share)) for share in SHARES], [rows // 4]


def plan_ms(order, step, world=1, repeats=200):
    times = []
    for t in range(repeats):
        start = time.perf_counter()
        order.plan(step + t, 0, world)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def run_table():
    """What a loader pays: steps one after the other, planned alone or some together."""
    labeled, unlabeled = selection(20_000_000)
    print("\nmicroseconds an image for the plans of successive steps, 20,000,000 rows")
    print(f"{'batch':>12} {'alone':>10} {'in runs':>10}")
    for batch in (256, 512):
        order = Order(labeled, unlabeled, OrderSettings(0, batch, Fraction(1, 4)))
        times = []
        for make in (lambda t, order=order: order.plan(t, 0, 1), Planner(order, 0, 1)):
            start = time.perf_counter()
            for step in range(480):
                make(step)
            times.append((time.perf_counter() - start) / 480 / batch * 1e6)
        print(f"{batch:>12}", *(f"{us:>10.2f}" for us in times))


def spread_classes(labeled):
    """Classes of 1 to about 80 rows for these sources, as a mixture's tables hold them."""
    rng = np.random.default_rng(0)
    images, ranges = [], []
    for rows in labeled:
        cuts = np.sort(rng.choice(rows - 1, rows // PER_CLASS, replace=False) + 1)
        here = np.diff(cuts, prepend=0, append=rows)
        images.append(here)
        first = ranges[-1][1] if ranges else 0
        ranges.append((first, first + len(here)))
    images = np.concatenate(images)
    rows = np.random.default_rng(1).permutation(sum(labeled)).astype(np.int32)
    return ClassRows(images, np.cumsum(images) - images, rows, [np.arange(*r) for r in ranges])


def plan_table():
    share = Fraction(1, 4)
    print(f"milliseconds for the plan of a batch of {BATCH} (median of 200)")
    heads = ("pooled", "weighted", "slices", "turns", "96 x 4", "8 x 48", "step 10^15", "8 ranks")
    print(f"{'rows':>12}", *(f"{head:>10}" for head in (*heads, "opening", "identities")))
    for rows in (20_000, 200_000, 2_000_000, 20_000_000):
        labeled, unlabeled = selection(rows)
        classes = spread_classes(labeled)

        def order(scale=1, labeled=labeled, unlabeled=unlabeled, classes=classes, **more):
            settings = OrderSettings(0, scale * BATCH, share, **more)
            return Order(labeled, unlabeled, settings, classes if "sampler" in more else None)

        def opening(make, *args, **more):
            times = []
            for _ in range(5):
                start = time.perf_counter()
                make(*args, **more)
                times.append(time.perf_counter() - start)
            return statistics.median(times) * 1e3

        times = (
            plan_ms(order(), 1000),
            plan_ms(order(weights=tuple(range(1, 11))), 1000),
            plan_ms(order(grouping="sub_batches"), 1000),
            plan_ms(order(grouping="one_dataset"), 1000),
            plan_ms(order(sampler=Drawing(96, 4)), 1000),
            plan_ms(order(sampler=Drawing(8, 48)), 1000),
            plan_ms(order(), 10**15),
            plan_ms(order(8), 1000, 8),
            opening(order),
            opening(order, sampler=Drawing(96, 4)),
        )
        print(f"{rows:>12,}", *(f"{ms:>10.2f}" for ms in times), flush=True)
    print(f"96 x 4: identities and images of each, of {len(classes.images):,} classes in the last")
    print("row; slices: sub_batches; turns: one_dataset; identities: opening an order of them\n")


def mixing(order, labeled, steps=400):
    """How far a step's rows lie apart, and how evenly the smallest source is spread."""
    edges = np.cumsum(labeled)
    distance, smallest = [], []
    for step in range(0, steps * 37, 37):  # a prime stride samples the whole cycle
        plan = order.plan(step, 0, 1)
        rows = plan.rows[: plan.n_labeled]
        distance.append(np.abs(np.diff(rows)).mean() / order.labeled_rows)
        smallest.append((rows >= edges[-2]).sum())
    return np.mean(distance), np.mean(smallest), np.var(smallest) / max(np.mean(smallest), 1e-9)


def mixing_table():
    rows = 8_000_000
    labeled, unlabeled = selection(rows)
    print(f"\nmixing of {sum(labeled):,} labeled rows, {BATCH} a batch (whole shuffle: 0.333, 1.0)")
    print(f"{'block':>7} {'window':>7} {'window rows':>12} {'distance':>9} {'unevenness':>11}")
    whole = (1, rows)
    for block, window in ((8192, 4), (8192, 16), (1024, 128), (BLOCK, WINDOW), whole):
        order = Order(
            labeled, unlabeled, OrderSettings(0, BATCH, Fraction(1, 4), block=block, window=window)
        )
        distance, _, unevenness = mixing(order, labeled)
        size = min(block * window, rows)
        print(f"{block:>7,} {window:>7,} {size:>12,} {distance:9.3f} {unevenness:11.2f}")
    print("distance: mean step from one row of a batch to the next, in parts of all rows")
    print("unevenness: variance over mean of the smallest dataset's count per batch")


if __name__ == "__main__":
    plan_table()
    run_table()
    mixing_table()
