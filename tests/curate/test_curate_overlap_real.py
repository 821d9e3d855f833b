"""Overlap on real faces: who stands in several sets is known by name.

``python tests/bench/overlap.py --real STORE`` prints the numbers.
"""

import pytest
from support.overlaps import identities_of, judge
from support.real_store import copy_store

from fusekit.curate.names import match_names, person_name
from fusekit.curate.overlap import find_overlap
from fusekit.curate.templates import make_templates
from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table

pytestmark = pytest.mark.shared

NAMED = ("pins", "glint", "five", "lfw")


@pytest.fixture(scope="module")
def store(real_store, tmp_path_factory):
    return copy_store(real_store, tmp_path_factory.mktemp("overlap") / "store")


@pytest.fixture(scope="module")
def named(store):
    return find_overlap(NAMED, store=store)


@pytest.fixture(scope="module")
def truth(store):
    """The pairs of identities of one name, across the sets that have names."""
    storage = open_store(store)
    names = {}
    for dataset in NAMED:
        rows = read_table(storage, layout.identities(dataset), IDENTITIES_SCHEMA).to_pylist()
        names[dataset] = {r["identity"]: person_name(r["identity"], r["name"]) for r in rows}
    return {
        (a, b, list(names[a])[i], list(names[b])[j])
        for a in NAMED for b in NAMED if a < b
        for i, j in match_names(list(names[a].values()), list(names[b].values()))
    }  # fmt: skip


def spelt(result, decision):
    """Pairs of one decision by the names that people read."""
    return {
        frozenset(
            (dataset, result.names.get((dataset, identity), identity))
            for dataset, identity in ((row[f"dataset_{s}"], row[f"identity_{s}"]) for s in "ab")
        )
        for row in result.table.to_pylist()
        if row["decision"] == decision
    }


def test_every_same_named_person_is_found_and_nobody_else(named, truth):
    assert len(truth) >= 30
    found = judge(named.table, truth, "same")
    print(f"{len(truth)} pairs of one name: {found.right} same, {found.wrong} others the same")
    assert (found.missed, found.wrong) == (0, 0)


def test_a_mother_under_her_daughters_name_is_unsure_and_no_link(named):
    # Most images of Glint's class Gwyneth Paltrow show her mother, whom LFW knows by name.
    assert spelt(named, "unsure") == {
        frozenset({("glint", "Gwyneth Paltrow"), ("lfw", "Blythe_Danner")})
    }


def test_people_of_three_sets_are_one_cluster(named):
    clusters = {}
    for row in named.table.to_pylist():
        if row["cluster"] >= 0:
            a, b, i, j = identities_of(row)
            clusters.setdefault(row["cluster"], set()).update({(a, i), (b, j)})
    keanu = [c for c in clusters.values() if ("lfw", "Keanu_Reeves") in c]
    assert [sorted(dataset for dataset, _ in c) for c in keanu] == [["glint", "lfw", "pins"]]
    affleck = [c for c in clusters.values() if ("lfw", "Ben_Affleck") in c]
    assert [sorted(dataset for dataset, _ in c) for c in affleck] == [["five", "lfw", "pins"]]


def test_people_without_names_are_found_by_their_faces(store):
    # Each of the four was judged by eye; 07345 shows Rihanna among images of another woman.
    with_pins = find_overlap(["pins", "celeba"], store=store)
    assert spelt(with_pins, "same") == {
        frozenset({("celeba", "07232"), ("pins", "Neil Patrick Harris")}),
        frozenset({("celeba", "07345"), ("pins", "Rihanna")}),
    }
    with_lfw = find_overlap(["celeba", "lfw"], store=store)
    assert spelt(with_lfw, "same") == {
        frozenset({("celeba", "07398"), ("lfw", "Oxana_Fedorova")}),
        frozenset({("celeba", "07261"), ("lfw", "Nicole_Hiltz")}),
    }


def test_a_dataset_alone_shows_whom_it_holds_twice(store):
    celeba = spelt(find_overlap(["celeba"], store=store), "same")
    assert frozenset({("celeba", "07392"), ("celeba", "07393")}) in celeba
    # One person under two spellings; twins too. The names differ, so that a person must say.
    lfw = spelt(find_overlap(["lfw"], store=store), "unsure")
    for a, b in (
        ("Hasan_Wirayuda", "Hassan_Wirajuda"), ("Chyung_Dai-chul", "Dai_Chul_Chyung"),
        ("Carolina_Moraes", "Isabela_Moraes"), ("Nan_Wang", "Wang_Nan"),
    ):  # fmt: skip
        assert frozenset({("lfw", a), ("lfw", b)}) in lfw
    assert spelt(find_overlap(["pins"], store=store), "same") == set()


def test_the_class_of_two_people_has_two_templates(store):
    storage = open_store(store)
    info = open_dataset(storage, "glint")
    templates = make_templates(storage, EmbeddingSet.open(storage, info))
    two = [
        (templates.names[i], sorted(templates.images[templates.of_identity == i].tolist()))
        for i in range(len(templates.identities))
        if (templates.of_identity == i).sum() > 1
    ]
    assert two == [("Gwyneth Paltrow", [12, 28])]
