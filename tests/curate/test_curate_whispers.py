"""Chinese whispers over a similarity graph: the loop over nodes, but in vectorised steps."""

from itertools import pairwise

import dlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.people import draw_images, draw_people

from fusekit.curate import graph as graphs
from fusekit.curate.graph import Graph, exact_rows, similarity_graph
from fusekit.curate.metrics import score_clusters
from fusekit.curate.prototypes import unit_rows
from fusekit.curate.whispers import WEIGHT_STEPS, number_by_size, whisper
from fusekit.rng import derive, rank_words


def make_graph(count, edges):
    """Rows of undirected edges {(a, b): weight}."""
    both = sorted([(a, b, w) for (a, b), w in edges.items()] +
                  [(b, a, w) for (a, b), w in edges.items()])  # fmt: skip
    heads = [a for a, _, _ in both]
    starts = np.concatenate([[0], np.cumsum(np.bincount(heads, minlength=count))])
    return Graph(
        starts.astype(np.int64),
        np.array([b for _, b, _ in both], np.int32),
        np.array([w for _, _, w in both], np.float32),
    )


def one_by_one(graph, seed=0):
    """Visit node after node, in the same order, until nothing changes."""
    ranks = rank_words(np.arange(graph.nodes)[:, None], derive(derive("whispers"), seed))
    order = sorted(range(graph.nodes), key=lambda node: (int(ranks[node]), node))
    place = {node: i for i, node in enumerate(order)}
    names = list(range(graph.nodes))
    changed = True
    while changed:
        changed = False
        for node in order:
            weights = {}
            for edge in range(graph.starts[node], graph.starts[node + 1]):
                name = names[graph.neighbours[edge]]
                weight = round(float(graph.weights[edge]) * WEIGHT_STEPS)
                weights[name] = weights.get(name, 0) + weight
            best = [n for n, w in weights.items() if w == max(weights.values())]
            if best and names[node] not in best:
                names[node] = min(best, key=lambda name: place[name])
                changed = True
    first = {}
    return [first.setdefault(name, node) for node, name in enumerate(names)]


GRAPHS = st.integers(2, 24).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.dictionaries(
            st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))
            .filter(lambda e: e[0] != e[1])
            .map(lambda e: (min(e), max(e))),
            st.sampled_from([0.25, 0.5, 0.7, 1.0]),
            min_size=1,
            max_size=60,
        ),
    )
)


@given(GRAPHS, st.integers(0, 3))
def test_the_steps_give_what_the_loop_over_single_nodes_gives(drawn, seed):
    graph = make_graph(*drawn)
    found = whisper(graph, seed=seed)
    assert found.settled
    assert found.labels.tolist() == one_by_one(graph, seed)


def people(count, images, spread=0.7, seed=0):
    directions = draw_people(count, seed=seed)
    drawn = [draw_images(directions[i], images, seed + i, spread) for i in range(count)]
    return exact_rows(unit_rows(np.concatenate(drawn))), np.repeat(np.arange(count), images)


def test_parts_that_do_not_touch_give_the_same_apart_and_together():
    vectors, truth = people(6, 8, spread=1.2)
    starts = np.searchsorted(truth, np.arange(7))
    names = np.random.default_rng(0).permutation(1000)[: len(vectors)]
    whole = whisper(similarity_graph(vectors, starts, 0.3), names).labels
    for first, end in pairwise(starts):
        graph = similarity_graph(vectors[first:end], np.array([0, end - first]), 0.3)
        assert (whisper(graph, names[first:end]).labels + first).tolist() == (
            whole[first:end].tolist()
        )


def test_it_finds_people_as_well_as_dlib_does():
    vectors, truth = people(40, 12, spread=1.3)
    graph = similarity_graph(vectors, np.array([0, len(vectors)]), 0.3)
    heads = np.repeat(np.arange(graph.nodes), np.diff(graph.starts)).tolist()
    edges = [
        (a, b, w)
        for a, b, w in zip(heads, graph.neighbours.tolist(), graph.weights.tolist(), strict=True)
        if a < b
    ]
    theirs = dlib.chinese_whispers(edges)
    theirs = score_clusters(list(theirs) + [-1] * (len(truth) - len(theirs)), truth)
    ours = score_clusters(number_by_size(whisper(graph).labels)[0], truth)
    assert theirs.bcubed_f > 0.9
    assert ours.bcubed_f > theirs.bcubed_f - 0.01


def test_it_stops_at_the_bound_and_says_so():
    edges = {(i, i + 1): 0.5 + i / 1000 for i in range(200)}
    graph = make_graph(201, edges)
    short, whole = whisper(graph, most_passes=1), whisper(graph)
    assert (short.passes, short.settled) == (1, False)
    assert whole.settled
    assert 1 < whole.passes <= 100


def test_a_graph_without_edges_leaves_everyone_alone():
    graph = similarity_graph(np.eye(3, dtype=np.float32), np.array([0, 2, 3]), 0.5)
    assert whisper(graph).labels.tolist() == [0, 1, 2]
    assert whisper(similarity_graph(np.zeros((0, 4), np.float32), np.array([0]), 0.5)).settled


def every_edge(vectors, starts, threshold):
    groups = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    linked = (cosines >= threshold) & (groups[:, None] == groups)
    np.fill_diagonal(linked, val=False)
    return linked, cosines


@pytest.mark.parametrize("most", [3, 100])
def test_the_graph_holds_the_strongest_edges_of_each_group(monkeypatch, most):
    monkeypatch.setattr(graphs, "_ROWS", 7)
    monkeypatch.setattr(graphs, "_COLUMNS", 5)
    monkeypatch.setattr(graphs, "_FOUND", 20)
    vectors, _ = people(6, 9, spread=1.5)
    starts = np.array([0, 20, 21, 54])
    graph = similarity_graph(vectors, starts, 0.1, most)
    linked, cosines = every_edge(vectors, starts, 0.1)
    asked = np.zeros_like(linked)
    for node in range(len(vectors)):
        ends = sorted(np.flatnonzero(linked[node]), key=lambda end: (-cosines[node, end], end))
        asked[node, ends[:most]] = True
    heads, tails = np.nonzero(asked | asked.T)
    assert np.repeat(np.arange(graph.nodes), np.diff(graph.starts)).tolist() == heads.tolist()
    assert graph.neighbours.tolist() == tails.tolist()
    assert graph.weights == pytest.approx(cosines[heads, tails])


def test_products_of_exact_rows_do_not_depend_on_the_order_of_summing():
    vectors, _ = people(8, 8)
    exact = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    mixed = np.random.default_rng(0).permutation(vectors.shape[1])
    for columns in (slice(None), slice(None, None, -1), mixed):
        assert np.array_equal(vectors[:, columns] @ vectors[:, columns].T, exact)


def test_clusters_are_numbered_by_size_and_those_alone_are_not():
    numbers, sizes = number_by_size(np.array([0, 1, 2, 1, 0, 5, 1], np.int32))
    assert numbers.tolist() == [1, 0, -1, 0, 1, -1, 0]
    assert sizes.tolist() == [2, 3, 1, 3, 2, 1, 3]
