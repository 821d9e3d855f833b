"""People over several datasets: strong links first, and no chain joins identities that differ."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from fusekit.curate.people_clusters import Link, join_people

NODES = [(dataset, number) for dataset in "abc" for number in range(3)]
PAIRS = list(combinations(NODES, 2))


def never(a, b):
    return False


def always(a, b):
    return True


def test_links_join_identities_into_people():
    links = [Link(("a", 0), ("b", 4), 0.9), Link(("b", 7), ("c", 1), 0.8)]
    people = join_people(links, never)
    assert people.cluster_of == {("a", 0): 0, ("b", 4): 0, ("b", 7): 1, ("c", 1): 1}
    assert (people.count, people.contested) == (2, ())


def test_a_chain_is_cut_at_its_weakest_link():
    links = [
        Link(("a", 0), ("b", 0), 0.9), Link(("b", 0), ("c", 0), 0.6), Link(("c", 0), ("a", 1), 0.8)
    ]  # fmt: skip
    people = join_people(links, never)
    assert people.contested == (1,)
    assert people.cluster_of == {("a", 0): 0, ("b", 0): 0, ("a", 1): 1, ("c", 0): 1}


def test_three_datasets_are_joined_without_the_third_link_if_it_agrees():
    links = [Link(("a", 0), ("b", 0), 0.9), Link(("b", 0), ("c", 0), 0.8)]
    asked = []
    people = join_people(links, lambda a, b: asked.append((a, b)) or True)
    assert asked == [(("a", 0), ("c", 0))]
    assert (people.count, people.contested) == (1, ())


def test_two_identities_of_one_dataset_are_joined_only_if_they_agree():
    links = [Link(("a", 0), ("b", 0), 0.9), Link(("a", 1), ("b", 0), 0.8)]
    assert join_people(links, never).contested == (1,)
    assert join_people(links, always).count == 1


def test_no_links_give_no_people():
    people = join_people([], never)
    assert (people.count, people.cluster_of, people.contested) == (0, {}, ())


def obvious(links, agrees):
    """Merge whole sets, strongest link first, asking for every pair that has no link."""
    linked = {frozenset((link.a, link.b)) for link in links}
    groups = [{node} for node in {n for link in links for n in (link.a, link.b)}]
    for link in sorted(links, key=lambda each: (-each.score, sorted((each.a, each.b)))):
        (one,) = [g for g in groups if link.a in g]
        (two,) = [g for g in groups if link.b in g]
        pairs = [frozenset((x, y)) for x in one for y in two]
        if one is not two and all(p in linked or agrees(*sorted(p)) for p in pairs):
            groups = [g for g in groups if g is not one and g is not two] + [one | two]
    return {frozenset(g) for g in groups if len(g) > 1}


graphs = st.lists(
    st.tuples(st.sampled_from(PAIRS), st.sampled_from([0.6, 0.7, 0.8, 0.9])),
    unique_by=lambda each: each[0], max_size=14,
)  # fmt: skip


@given(graphs, st.sets(st.sampled_from(PAIRS)), st.randoms(use_true_random=False))
def test_people_do_not_depend_on_the_order_of_links_nor_of_their_ends(graph, agreeing, random):
    def agrees(a, b):
        assert a < b
        return (a, b) in agreeing

    links = [Link(a, b, score) for (a, b), score in graph]
    people = join_people(links, agrees)
    groups = {}
    for node, number in people.cluster_of.items():
        groups.setdefault(number, set()).add(node)
    assert {frozenset(g) for g in groups.values()} == obvious(links, agrees)
    assert [min(groups[number]) for number in sorted(groups)] == sorted(map(min, groups.values()))

    shuffled = [Link(x.b, x.a, x.score) if random.random() < 0.5 else x for x in links]
    random.shuffle(shuffled)
    other = join_people(shuffled, agrees)
    assert other.cluster_of == people.cluster_of
    ends = [
        {frozenset((made[i].a, made[i].b)) for i in result.contested}
        for made, result in ((links, people), (shuffled, other))
    ]
    assert ends[0] == ends[1]


@given(graphs, st.sets(st.sampled_from(PAIRS)))
def test_every_two_identities_of_a_person_are_linked_or_agree(graph, agreeing):
    links = [Link(a, b, score) for (a, b), score in graph]
    people = join_people(links, lambda a, b: (a, b) in agreeing)
    linked = {frozenset(pair) for pair, _ in graph}
    for a, b in combinations(sorted(people.cluster_of), 2):
        if people.cluster_of[a] == people.cluster_of[b]:
            assert frozenset((a, b)) in linked or (a, b) in agreeing
