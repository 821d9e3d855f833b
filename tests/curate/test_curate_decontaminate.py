"""Decontamination: evaluation people are found by name, face and list, and nobody else is."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.people import draw_images, draw_people, embed_as
from support.real_store import copy_store
from support.stores import make_dataset, pairs_table
from typer.testing import CliRunner

from fusekit.cards.card import list_cards
from fusekit.cli.main import app
from fusekit.curate import evaluation_people
from fusekit.curate.decontaminate import UNSURE_SHARE, find_contamination, sort_out
from fusekit.curate.evaluation_people import evaluation_gallery, join_samples
from fusekit.curate.published import card_of, published_list
from fusekit.curate.templates import sample_templates
from fusekit.errors import FindingError, StoreError, UsageError
from fusekit.store.datasets import finish_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import finding as finding_folder
from fusekit.store.layout import open_store

PEOPLE = draw_people(200, dim=128)
NO_CROP = b"no crop"


def collect(storage, name, who, *, kind="labeled", names=None, images=6, pool=PEOPLE, **more):
    """A dataset of given people: identity to the number of the person whose face it shows."""
    sizes = dict.fromkeys(who, images)
    seed = sum(map(ord, name))
    outputs = [draw_images(pool[who[i]], images, 977 * seed + who[i], spread=0.5) for i in who]
    info = make_dataset(
        storage,
        name,
        sizes,
        kind=kind,
        names=names,
        images=[NO_CROP] * images * len(who),
        unit_size=512,
        **more,
    )
    embed_as(storage, info, np.concatenate(outputs))
    return info


def numbered(numbers, prefix="n"):
    return {f"{prefix}{n:06d}": n for n in numbers}


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def rows_of(storage, result):
    finding = find_fresh(storage, "contamination", datasets=[], prefix=result.finding)
    return read_finding_table(storage, finding).to_pylist()


def found(people):
    return {(f.dataset, f.identity, f.evaluation, f.reason) for f in people}


def find(storage, *training, against=("exam",), **options):
    return find_contamination(training, against=against, store=storage.root, **options)


def test_shared_people_are_found_by_their_faces_and_nobody_else_is(storage):
    collect(storage, "train", numbered(range(60)))
    collect(storage, "exam", numbered(range(55, 110), "m"), kind="evaluation", images=2)
    result = find(storage, "train")
    expected = {("train", f"n{n:06d}", "exam", "embedding") for n in range(55, 60)}
    assert found(result.identities) == expected
    assert result.unsure == ()
    rows = rows_of(storage, result)
    assert {(r["identity"], r["evaluation_identity"]) for r in rows} == {
        (f"n{n:06d}", f"m{n:06d}") for n in range(55, 60)
    }
    assert all(r["name_match"] is None and 0 < r["votes"] <= r["compared"] for r in rows)


def test_names_join_the_evidence_and_a_namesake_is_left_to_a_person(storage):
    names = {"n000001": "Ben Affleck", "n000002": "Steve Martin", "n000003": "Only Here"}
    collect(storage, "train", numbered(range(50)), names=names)
    collect(
        storage, "exam", {"ben_afflek": 1, "Steve_Martin": 150, **numbered(range(100, 130))},
        kind="evaluation", images=2,
    )  # fmt: skip
    result = find(storage, "train")
    assert found(result.identities) == {("train", "n000001", "exam", "name+embedding")}
    assert found(result.unsure) == {("train", "n000002", "exam", "name")}
    assert (result.unsure[0].name, result.unsure[0].person) == ("Steve Martin", "Steve_Martin")
    decisions = {r["identity"]: (r["decision"], r["name_match"]) for r in rows_of(storage, result)}
    assert decisions == {"n000001": ("same", True), "n000002": ("unsure", True)}


def test_a_face_under_another_name_is_left_to_a_person(storage):
    collect(storage, "train", numbered(range(40)), names={"n000004": "Ann Other"})
    collect(
        storage, "exam", {"Zoe_Else": 4, **numbered(range(100, 140))}, kind="evaluation", images=3
    )
    result = find(storage, "train")
    assert result.identities == ()
    assert found(result.unsure) == {("train", "n000004", "exam", "embedding")}


def test_an_alias_makes_other_names_agree(storage):
    collect(storage, "train", numbered(range(40)), names={"n000004": "Stefani Germanotta"})
    collect(
        storage, "exam", {"Lady_Gaga": 4, **numbered(range(100, 140))}, kind="evaluation", images=3
    )
    result = find(storage, "train", aliases={"stefani germanotta": "lady gaga"})
    assert found(result.identities) == {("train", "n000004", "exam", "name+embedding")}


def test_each_evaluation_set_names_a_person_once(storage):
    collect(storage, "train", numbered(range(40)))
    # The set has the person under two identities.
    collect(storage, "exam", {"a": 3, "b": 3, **numbered(range(100, 140))}, kind="evaluation")
    collect(storage, "quiz", {"c": 3, **numbered(range(140, 180))}, kind="evaluation")
    result = find(storage, "train", against=["exam", "quiz"])
    assert [(f.identity, f.evaluation) for f in result.identities] == [
        ("n000003", "exam"), ("n000003", "quiz"),
    ]  # fmt: skip
    assert result.as_json()["identities"][0] == {
        "dataset": "train", "identity": "n000003", "evaluation": "exam", "reason": "embedding",
    }  # fmt: skip
    assert len(rows_of(storage, result)) == 3
    assert [s.people for s in result.searched] == [1, 1]


def test_a_pack_without_identities_is_searched_image_by_image(storage):
    collect(storage, "train", numbered(range(60)))
    images = [draw_images(PEOPLE[n], 2, 31 + n, spread=0.5) for n in (7, *range(120, 150))]
    pairs = [(f"crawl/{i:05d}.jpg", f"crawl/{i + 1:05d}.jpg", True) for i in range(0, 62, 2)]
    info = make_dataset(
        storage, "exam", 62, kind="evaluation", images=[NO_CROP] * 62,
        protocol={"pairs": pairs_table(pairs)},
    )  # fmt: skip
    embed_as(storage, info, np.concatenate(images))
    result = find(storage, "train")
    assert found(result.identities) == {("train", "n000007", "exam", "embedding")}
    assert [r["evaluation_identity"] for r in rows_of(storage, result)] == [None]
    gallery = evaluation_gallery(storage, EmbeddingSet.open(storage, info))
    assert gallery.templates.images.tolist() == [2] * 31
    assert result.searched[0].pairs == 60 * 31


def test_a_pack_without_pairs_has_a_person_for_each_image(storage):
    info = make_dataset(storage, "exam", 5, kind="evaluation", images=[NO_CROP] * 5)
    embed_as(storage, info, draw_images(PEOPLE[0], 5, 1))
    gallery = evaluation_gallery(storage, EmbeddingSet.open(storage, info))
    assert len(gallery.templates.centres) == 5


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_joined_samples_are_the_components_of_the_pairs(edges):
    groups = [{i} for i in range(10)]
    for a, b in edges:
        one, other = (next(g for g in groups if x in g) for x in (a, b))
        if one is not other:
            groups.remove(other)
            one |= other
    home = evaluation_people._components(10, np.array(edges, np.int64).reshape(-1, 2))
    assert home.tolist() == [min(next(g for g in groups if i in g)) for i in range(10)]


def test_joined_samples_keep_their_rows_and_their_mean(storage):
    info = make_dataset(storage, "exam", 4, kind="evaluation", images=[NO_CROP] * 4)
    embed_as(storage, info, draw_images(PEOPLE[0], 4, 1))
    embeddings = EmbeddingSet.open(storage, info)
    samples = sample_templates(embeddings)
    joined = join_samples(samples, embeddings, np.array([[3, 1], [1, 3]]))
    assert [joined.rows_of(t).tolist() for t in range(3)] == [[0], [1, 3], [2]]
    mean = samples.centres[[1, 3]].sum(axis=0)
    assert np.allclose(joined.centres[1], mean / np.linalg.norm(mean), atol=1e-6)


def stand_for(storage, info, reader, form, kind="labeled"):
    """Let a drawn dataset say that it was read in a form of a real card."""
    return finish_dataset(
        storage, info.name, units=info.units, index=info.index, kind=kind, template=info.template,
        crop_size=tuple(info.crop_size), identities=info.identities, plan=info.plan, form=form,
        card={"kind": kind, "form": {"name": form, "reader": reader}}, settings=info.settings,
        versions={}, ignored={},
    )  # fmt: skip


@pytest.fixture
def casia_and_lfw(storage):
    """A renamed CASIA-WebFace of which the published list names two, and a renamed LFW."""
    ids = {"0000513": 0, "0004539": 1, "0000045": 2, "0000099": 3, **numbered(range(4, 30))}
    names = {"0000513": "William Macy", "0000045": "Cher"}
    casia = collect(storage, "my-casia", ids, index=1, names=names)
    exam = collect(
        storage, "exam", {"William_Macy": 0, **numbered(range(100, 130), "m")}, kind="evaluation"
    )
    card = next(c for c in list_cards() if c.name == "casia-webface")
    form = card.resolved()[0]
    return (
        stand_for(storage, replace(casia, index=card.index), form.reader, form.name),
        stand_for(storage, exam, "lfw", "originals", kind="evaluation"),
    )


def test_a_published_list_names_people_by_itself_or_beside_other_evidence(storage, casia_and_lfw):
    result = find(storage, "my-casia")
    assert found(result.identities) == {
        ("my-casia", "0000513", "exam", "name+embedding+published"),
        ("my-casia", "0004539", "exam", "published"),
    }
    alone = next(r for r in rows_of(storage, result) if r["identity"] == "0004539")
    assert (alone["score"], alone["compared"], alone["evaluation_identity"]) == (None, 0, None)
    assert result.warnings == ()


def test_a_list_that_spells_identities_otherwise_is_told(storage, casia_and_lfw):
    casia = casia_and_lfw[0]
    form = next(f for c in list_cards() if c.name == "casia-webface" for f in c.resolved())
    numbers = collect(storage, "pack", {str(n): n for n in range(30)}, index=77)
    stand_for(storage, replace(numbers, index=casia.index), form.reader, form.name)
    result = find(storage, "pack")
    assert result.warnings == (
        "pack: none of its identities is spelt as in the published list of 19 who are in lfw "
        "(such as 0000513), so the list was of no use",
    )


def test_lists_for_lfw_hold_for_the_sets_that_show_its_people(storage, casia_and_lfw):
    cards = {card.name: card for card in list_cards()}
    calfw = replace(casia_and_lfw[1], name="calfw", card=_card_of(cards["calfw"]))
    listed = published_list(casia_and_lfw[0], calfw)
    assert (listed.listed_for, len(listed.ids)) == ("lfw", 19)
    cfp = replace(casia_and_lfw[1], name="cfp-fp", card=_card_of(cards["cfp-fp"]))
    assert published_list(casia_and_lfw[0], cfp) is None


def _card_of(card):
    form = card.resolved()[0]
    return {"kind": card.kind, "form": {"name": form.name, "reader": form.reader}}


def test_a_card_is_found_by_index_then_by_name_and_never_guessed(storage):
    info = make_dataset(storage, "mine", {"a": 1}, index=8)
    cards = list_cards()
    vgg = next(c for c in cards if c.name == "vggface2")
    assert card_of(replace(info, card=_card_of(vgg)), cards) is vgg
    assert card_of(info, cards) is None
    pack = next(c for c in cards if c.name == "ms1m")
    form = {"name": "recordio", "reader": "recordio"}
    named = replace(info, name="ms1m", index=1000, card={"form": form})
    assert card_of(named, cards) is pack
    # Every pack is read in the same form: without index or name it may be anyone's.
    assert card_of(replace(named, name="other"), cards) is None


def test_vggface2_s_published_list_is_whole():
    overlaps = {o.dataset: o for c in list_cards() if c.name == "vggface2" for o in c.overlaps}
    for dataset, count in (("lfw", 593), ("facescrub", 18)):
        ids = overlaps[dataset].ids
        assert len(set(ids)) == len(ids) == overlaps[dataset].identities == count
        assert all(i[0] == "n" and i[1:].isdecimal() and len(i) == 7 for i in ids)
        assert list(ids) == sorted(ids)


def test_the_order_of_the_datasets_does_not_matter(storage):
    for name, first in (("one", 0), ("two", 30)):
        collect(storage, name, numbered(range(first, first + 40), name[0]))
    for name, first in (("exam", 35), ("quiz", 60)):
        collect(storage, name, numbered(range(first, first + 40), name[0]), kind="evaluation")
    first = find(storage, "one", "two", against=["exam", "quiz"])
    table = storage.read(f"{finding_folder('contamination', first.finding)}/table.parquet")
    again = find(storage, "two", "one", against=["quiz", "exam"])
    assert again.finding == first.finding
    assert again.identities == first.identities
    where = f"{finding_folder('contamination', again.finding)}/table.parquet"
    assert storage.read(where) == table
    other = find(storage, "one", "two", against=["exam", "quiz"], false_match=1e-5)
    assert other.finding != first.finding


def test_what_was_searched_and_what_chance_gives_is_told(storage):
    collect(storage, "train", numbered(range(50)))
    collect(storage, "exam", numbered(range(100, 140), "m"), kind="evaluation")
    result = find(storage, "train", false_match=1e-4)
    (searched,) = result.searched
    assert (searched.dataset, searched.evaluation) == ("train", "exam")
    assert searched.pairs == 2000
    assert searched.by_chance == pytest.approx(0.2)
    assert -1 < searched.unsure < searched.same < 1
    assert result.identities == ()


def test_the_more_people_a_set_has_the_more_alike_an_unsure_pair_must_be(storage):
    many = draw_people(940, dim=128, seed=5)
    collect(storage, "train", numbered(range(40)), pool=many)
    for name, count in (("exam", 40), ("quiz", 900)):
        who = numbered(range(40, 40 + count), name[0])
        collect(storage, name, who, kind="evaluation", images=1, pool=many)
    small, large = find(storage, "train", against=["exam", "quiz"]).searched
    assert small.unsure < small.same
    assert small.same - small.unsure > large.same - large.unsure >= 0


@pytest.mark.parametrize(
    ("training", "against", "message"),
    [
        ([], ["exam"], "TRAIN: is missing; expected at least one labeled dataset"),
        (["train"], [], "--against: is missing; expected at least one evaluation set"),
        (["exam"], ["exam"], "exam: is evaluation; expected a labeled dataset; evaluation sets go "
         "behind --against"),
        (["crawl"], ["exam"], "crawl: is unlabeled; expected a labeled dataset"),
        (["train"], ["other"], "--against other: is labeled; expected an evaluation set; fusekit "
         "overlap compares training datasets with each other"),
        (["train", "train"], ["exam"], "TRAIN: names a dataset twice: train, train; expected each "
         "once"),
        (["train"], ["exam", "exam"], "--against: names a dataset twice: exam, exam; expected "
         "each once"),
    ],
)  # fmt: skip
def test_datasets_of_another_kind_are_refused(storage, training, against, message):
    for name, kind in (("train", "labeled"), ("other", "labeled"), ("exam", "evaluation")):
        make_dataset(storage, name, {"a": 1}, kind=kind)
    make_dataset(storage, "crawl", 1)
    with pytest.raises(UsageError) as refused:
        find(storage, *training, against=against)
    assert str(refused.value) == message


@pytest.mark.parametrize("rate", [0.0, -1.0, 0.5, float("nan")])
def test_a_rate_that_cannot_be_is_refused(storage, rate):
    with pytest.raises(UsageError, match=r"--false-match: .*; expected 1e-15 to 0\.001"):
        find(storage, "train", false_match=rate)


def test_a_dataset_that_is_not_there_is_told(storage):
    make_dataset(storage, "train", {"a": 1})
    with pytest.raises(StoreError, match=r"^exam: "):
        find(storage, "train")


def test_one_person_against_one_person_can_not_be_judged(storage):
    collect(storage, "train", {"a": 1})
    collect(storage, "exam", {"b": 2}, kind="evaluation")
    with pytest.raises(FindingError, match="nobody shows how strangers score"):
        find(storage, "train")


def test_the_command_takes_more_evaluation_sets_behind_the_first(storage):
    collect(storage, "train", numbered(range(40)))
    for name, first in (("exam", 39), ("quiz", 38)):
        collect(storage, name, numbered(range(first, first + 40), name[0]), kind="evaluation")
    words = ["decontaminate", "train", "--against", "exam", "quiz", "--store", str(storage.root)]
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    about = json.loads(done.stdout.splitlines()[-1])
    assert {(f["identity"], f["evaluation"]) for f in about["identities"]} == {
        ("n000039", "exam"), ("n000038", "quiz"), ("n000039", "quiz"),
    }  # fmt: skip
    assert all(
        set(f) == {"dataset", "identity", "evaluation", "reason"} for f in about["identities"]
    )
    shown = CliRunner().invoke(app, words, catch_exceptions=False)
    assert "in evaluation sets:" in shown.stdout
    assert shown.stdout.rstrip().endswith("identities  3")
    assert sort_out(["exam"], ["quiz"], storage.root) == (["exam"], ["quiz"])
    assert sort_out(["train", "exam"], [], storage.root) == (["train", "exam"], [])


@pytest.mark.shared
def test_on_real_sets_all_shared_people_are_found_and_nobody_else(real_store, tmp_path):
    store = copy_store(real_store, tmp_path / "store")
    result = find_contamination(["pins", "glint", "five", "celeba"], against=["lfw"], store=store)
    mine = {(f.dataset, f.name): (f.person, f.reason) for f in result.identities}
    for each in result.searched:
        print(each)
    assert {name: person for (d, name), (person, _) in mine.items() if d == "pins"} == {
        name: name.replace(" ", "_") for name in (
            "Avril Lavigne", "Ben Affleck", "Bill Gates", "Dwayne Johnson", "Emma Watson",
            "Gwyneth Paltrow", "Johnny Depp", "Keanu Reeves", "Leonardo DiCaprio",
            "Morgan Freeman", "Robert De Niro", "Robert Downey Jr", "Tom Cruise",
        )
    }  # fmt: skip
    assert {person for (d, _), (person, _) in mine.items() if d == "glint"} == {
        "Drew_Barrymore", "Gwyneth_Paltrow", "Halle_Berry", "Jennifer_Aniston", "Jessica_Alba",
        "Keanu_Reeves", "Leonardo_DiCaprio", "Robert_Downey_Jr", "Tina_Fey",
    }  # fmt: skip
    assert {person for (d, _), (person, _) in mine.items() if d == "five"} == {
        "Ben_Affleck", "Elton_John", "Jerry_Seinfeld", "Madonna",
    }  # fmt: skip
    # CelebA has no names: by their faces alone, judged right by eye.
    celeba = {f.identity: f.person for f in result.identities if f.dataset == "celeba"}
    assert celeba == {"60": "Nicole_Hiltz", "197": "Oxana_Fedorova"}
    assert len(result.identities) == 28
    # Left to a person: a few of those without names, and nobody of those with.
    assert {f.dataset for f in result.unsure} <= {"celeba"}
    assert len(result.unsure) <= UNSURE_SHARE * 299
    by_face = [f for f in result.identities if "embedding" in f.reason]
    assert len(by_face) >= 26
