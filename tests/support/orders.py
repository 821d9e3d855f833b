"""Random small orders of every kind, and what their plans draw."""

from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

from fusekit.loader.order.identities import ClassRows, Drawing
from fusekit.loader.order.order import Order, OrderSettings
from fusekit.rng import mix, permute

GAMMA = 0x9E3779B97F4A7C15
WORLDS = (1, 2, 3, 4, 6)
EITHER = st.booleans()
STEPS = st.one_of(st.integers(0, 40), st.integers(2**63, 2**70))


@st.composite
def orders(draw, weighted=EITHER, worlds=WORLDS, grouping="mixed"):
    """A small random selection with its order, and a world size that divides its batch."""
    world = draw(st.sampled_from(worlds))
    labeled = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    unlabeled = draw(st.lists(st.integers(1, 40), max_size=3))
    denominator = draw(st.integers(1, 9))
    share = Fraction(draw(st.integers(0, denominator - 1)), denominator) if unlabeled else 0
    weights = tuple(draw(st.integers(1, 1000)) for _ in labeled) if draw(weighted) else None
    whole = denominator if grouping == "one_dataset" else 1
    settings = OrderSettings(
        seed=draw(st.integers(0, 2**64 - 1)),
        global_batch=world * whole * draw(st.integers(1, 20)),
        unlabeled_fraction=Fraction(share),
        weights=weights,
        block=draw(st.integers(1, 20)),
        window=draw(st.integers(1, 6)),
        grouping=grouping,
    )
    return Order(labeled, unlabeled, settings), world


def class_rows(sources, seed=0):
    """Which rows each class has, when a source's rows stand in a random order.

    Args:
        sources: Images of each class of each source.
    """
    labels, first, ranges = [], 0, []
    for images in sources:
        ranges.append((first, first + len(images)))
        inorder = np.repeat(np.arange(*ranges[-1]), images)
        places = np.arange(len(inorder))
        labels.append(inorder[permute(places, len(inorder), seed)])
        first += len(images)
    label = np.concatenate(labels)
    images = np.bincount(label, minlength=first)
    rows = np.argsort(label, kind="stable").astype(np.int32)
    return label, ClassRows(
        images, np.cumsum(images) - images, rows, [np.arange(*r) for r in ranges]
    )


@st.composite
def identity_orders(draw, worlds=WORLDS, grouping="mixed"):
    """An order of identities, a world size, and the label of each labeled row."""
    world = draw(st.sampled_from(worlds))
    identities, images = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    unlabeled = draw(st.lists(st.integers(1, 40), max_size=2))
    extra = draw(st.integers(0, 8)) if unlabeled else 0
    sizes = st.lists(st.integers(1, 12), min_size=1, max_size=20)
    sources = draw(st.lists(sizes, min_size=1, max_size=4))
    sources[0] += [draw(st.integers(1, 12)) for _ in range(identities * world)]
    batch = identities * images + extra
    label, classes = class_rows(sources, draw(st.integers(0, 9)))
    settings = OrderSettings(
        seed=draw(st.integers(0, 2**64 - 1)),
        global_batch=batch * world,
        unlabeled_fraction=Fraction(extra, batch),
        grouping=grouping,
        sampler=Drawing(identities * world, images),
    )
    return Order([sum(s) for s in sources], unlabeled, settings, classes), world, label


def every_kind():
    """An order of any kind and a world size."""
    return st.one_of(
        orders(),
        orders(grouping="sub_batches"),
        orders(grouping="one_dataset"),
        identity_orders().map(lambda case: case[:2]),
        identity_orders(grouping="sub_batches").map(lambda case: case[:2]),
    )


def worlds_of(order):
    """World sizes that an order allows: the smallest five and the largest."""
    sampler, g = order.settings.sampler, order.settings.global_batch
    whole = g if sampler is None else sampler.identities
    worlds = [w for w in range(1, g + 1) if g % w == 0 and whole % w == 0]
    return [*worlds[:5], *worlds[5:][-1:]]


def drawn(plan):
    """Each row's stream and position, which no two places of an order share."""
    return [(int(k), plan.base[k] + int(o)) for k, o in zip(plan.stream, plan.ordinal, strict=True)]


def feistel(x, n, key):
    """The permutation of rng.py for one number, written from its description."""
    bits = (n - 1).bit_length()
    low_bits = bits // 2
    while True:
        low, high = x % 2**low_bits, x >> low_bits
        for r in range(4):
            round_key = mix((key + (r + 1) * GAMMA) % 2**64)
            if r % 2 == 0:
                high ^= mix(low ^ round_key) % 2 ** (bits - low_bits)
            else:
                low ^= mix(high ^ round_key) % 2**low_bits
        x = high << low_bits | low
        if x < n:
            return x
