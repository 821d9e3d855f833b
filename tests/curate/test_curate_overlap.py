"""Overlap: people that stand in several datasets are found, strangers are not, and it is written
down with its evidence."""

import json

import numpy as np
import pytest
from support.onnx_models import mean_colour_embedder
from support.overlaps import draw_overlap, identities_of, judge
from support.people import MODEL, draw_images, draw_people, make_people
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.curate.gallery import make_gallery
from fusekit.curate.overlap import find_overlap
from fusekit.curate.pair_decisions import Limits, decide, limits_between
from fusekit.errors import FindingError, StoreError, UsageError
from fusekit.schema import OVERLAP_SCHEMA
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store

PEOPLE = draw_people(400)
LIMITS = Limits(same=0.6, unsure=0.5, named=0.4, image=0.45)


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def label(storage, name, numbers, images=6, seed=0, called="{name}{i:03d}"):
    """A dataset of the people of these numbers, under names that no other dataset uses."""
    people = {
        called.format(name=name, i=i): draw_images(PEOPLE[i], images, seed * 1000 + i)
        for i in numbers
    }
    return make_people(storage, name, people)


def same(result):
    return {identities_of(r) for r in result.table.to_pylist() if r["decision"] == "same"}


def gallery(storage, name):
    return make_gallery(storage, EmbeddingSet.open(storage, open_dataset(storage, name)))


def test_the_people_of_both_datasets_are_found_and_nobody_else(storage):
    label(storage, "a", range(100))
    label(storage, "b", range(80, 180), seed=1)
    result = find_overlap(["a", "b"], store=storage.root)
    assert same(result) == {("a", "b", f"a{i:03d}", f"b{i:03d}") for i in range(80, 100)}
    assert result.counts["same"] == 20
    assert result.counts["unsure"] <= 3  # 8,080 pairs of strangers, one in 10,000 is unsure
    assert (result.people, result.identities) == (20, 40)


def test_recall_falls_and_precision_rises_as_fewer_false_matches_are_allowed(storage):
    truth = draw_overlap(storage, {"a": 300, "b": 200}, shared=40, spread=1.1)
    curve = [
        judge(find_overlap(["a", "b"], false_match=rate, store=storage.root).table, truth, "same")
        for rate in (1e-3, 1e-5, 1e-8)
    ]
    recalls = [point.recall for point in curve]
    wrong = [point.wrong for point in curve]
    print([(round(point.precision, 3), round(point.recall, 3)) for point in curve])
    assert recalls == sorted(recalls, reverse=True)
    assert wrong == sorted(wrong, reverse=True)
    assert curve[0].recall > 0.85
    assert curve[2].precision == 1


def test_no_more_strangers_are_called_the_same_than_the_rate_allows(storage):
    draw_overlap(storage, {"a": 400, "b": 400}, shared=0, spread=1.0)
    for rate in (1e-3, 1e-4):
        result = find_overlap(["a", "b"], false_match=rate, store=storage.root)
        assert result.counts["same"] <= 2 * rate * 400 * 400


def test_one_dataset_alone_is_searched_for_people_that_it_holds_twice(storage):
    people = {f"p{i:03d}": draw_images(PEOPLE[i], 6, i) for i in range(60)}
    people |= {f"q{i:03d}": draw_images(PEOPLE[i], 6, 700 + i) for i in range(3)}
    make_people(storage, "a", people)
    result = find_overlap(["a"], store=storage.root)
    assert same(result) == {("a", "a", f"p{i:03d}", f"q{i:03d}") for i in range(3)}
    assert (result.people, result.identities) == (3, 6)
    assert all(r["identity_index_a"] < r["identity_index_b"] for r in result.table.to_pylist())


def test_the_first_and_larger_of_two_people_in_an_identity_hides_neither(storage):
    label(storage, "a", range(60))
    people = {f"b{i:03d}": draw_images(PEOPLE[i], 6, 500 + i) for i in range(100, 160)}
    people["b100"] = np.concatenate([draw_images(PEOPLE[100], 20, 1), draw_images(PEOPLE[7], 8, 2)])
    make_people(storage, "b", people)
    assert same(find_overlap(["a", "b"], store=storage.root)) == {("a", "b", "a007", "b100")}


def test_identities_of_one_image_are_found(storage):
    label(storage, "a", range(100), images=1)
    label(storage, "b", range(90, 190), images=1, seed=1)
    result = find_overlap(["a", "b"], false_match=1e-4, store=storage.root)
    truth = {("a", "b", f"a{i:03d}", f"b{i:03d}") for i in range(90, 100)}
    assert len(same(result) & truth) >= 9
    assert all(row["compared"] == 1 for row in result.table.to_pylist())


def test_people_over_three_datasets_are_one_cluster(storage):
    for seed, name in enumerate("abc"):
        label(storage, name, range(40 + seed * 20, 100 + seed * 20), seed=seed)
    result = find_overlap(["a", "b", "c"], store=storage.root)
    assert result.people == 40 + 20  # those of a and b, of whom 20 are in c too; 20 of b and c
    groups = {}
    for row in result.table.to_pylist():
        if row["decision"] == "same":
            groups.setdefault(row["cluster"], set()).update(
                row[f"identity_{side}"] for side in "ab"
            )
        else:
            assert row["cluster"] == -1
    assert sorted(groups) == list(range(60))
    assert sorted(map(len, groups.values())) == [2] * 40 + [3] * 20
    assert all(len({name[1:] for name in group}) == 1 for group in groups.values())


def test_a_bridge_between_two_people_is_contested_and_becomes_unsure(storage):
    label(storage, "a", range(60))
    people = {f"b{i:03d}": draw_images(PEOPLE[i], 6, 500 + i) for i in range(100, 160)}
    # One class of b holds two people whom a tells apart.
    people["b100"] = np.concatenate([draw_images(PEOPLE[8], 20, 1), draw_images(PEOPLE[7], 8, 2)])
    make_people(storage, "b", people)
    result = find_overlap(["a", "b"], store=storage.root)
    rows = {identities_of(row)[2]: row for row in result.table.to_pylist()}
    assert {rows["a007"]["decision"], rows["a008"]["decision"]} == {"same", "unsure"}
    assert {rows["a007"]["cluster"], rows["a008"]["cluster"]} == {0, -1}
    assert result.people == 1
    assert result.warnings == (
        "1 pairs would join identities that differ, and are unsure for that",
    )


def test_the_order_in_which_datasets_are_named_changes_only_the_sides(storage):
    for seed, name in enumerate("abc"):
        label(storage, name, range(seed * 20, 60 + seed * 20), seed=seed)
    first = find_overlap(["a", "b", "c"], store=storage.root)
    path = storage.path(f"findings/overlap/{first.finding}/table.parquet")
    before = path.read_bytes()
    second = find_overlap(["c", "a", "b"], store=storage.root)
    assert (second.finding, path.read_bytes()) == (first.finding, before)
    sides = {(row["dataset_a"], row["dataset_b"]) for row in second.table.to_pylist()}
    assert sides == {("c", "a"), ("c", "b"), ("a", "b")}
    assert same(first) == same(second)
    turned = {(identities_of(r), r["cluster"], r["score"]) for r in second.table.to_pylist()}
    assert turned == {(identities_of(r), r["cluster"], r["score"]) for r in first.table.to_pylist()}


def test_the_finding_says_what_it_is_made_of(storage):
    label(storage, "a", range(50))
    label(storage, "b", range(40, 90), seed=1)
    result = find_overlap(["b", "a"], false_match=1e-5, store=storage.root)
    finding = find_fresh(storage, "overlap", datasets=["a", "b"])
    assert finding.fingerprint == result.finding
    limits = result.compared[0].limits
    assert finding.about == {
        "datasets": ["a", "b"],
        "inputs": {n: open_dataset(storage, n).fingerprint for n in "ab"},
        "model": {"name": "drawn", "sha256": MODEL.sha256, "contract": ""},
        "false_match": 1e-5,
        "thresholds": [
            {"a": "a", "b": "b", "same": limits.same, "unsure": limits.unsure,
             "named": limits.named, "image": limits.image}
        ],
        "aliases": {},
        "versions": {"templates": 2, "thresholds": 2, "pairs": 2},
    }  # fmt: skip
    table = read_finding_table(storage, finding)
    assert table.schema.equals(OVERLAP_SCHEMA)
    assert table.num_rows == result.table.num_rows
    assert limits.named < limits.unsure < limits.same < 1


def test_a_rows_evidence_is_that_of_its_images(storage):
    label(storage, "a", range(50), images=3)
    label(storage, "b", range(40, 90), images=4, seed=1)
    result = find_overlap(["a", "b"], store=storage.root)
    image = result.compared[0].limits.image
    left, right = (gallery(storage, name) for name in "ab")
    rows = result.table.to_pylist()
    assert len(rows) >= 10
    for row in rows:
        i, j = row["identity_index_a"], row["identity_index_b"]
        x = left.embeddings.take(left.templates.rows_of(i)).astype(float)
        y = right.embeddings.take(right.templates.rows_of(j)).astype(float)
        assert row["compared"] == 12
        assert row["votes"] == sum(float(a @ b) > image for a in x for b in y)
        scores = left.templates.centres.astype(float) @ right.templates.centres.T
        assert row["score"] == pytest.approx(scores[i, j], abs=1e-6)
        others = [*np.delete(scores[i], j), *np.delete(scores[:, j], i)]
        assert row["margin"] == pytest.approx(scores[i, j] - max(others), abs=1e-5)


def test_a_pair_with_nobody_else_has_no_margin(storage):
    label(storage, "a", range(50))
    for name in "bc":
        label(storage, name, [3], seed=ord(name))
    with_b = find_overlap(["a", "b"], store=storage.root).table.to_pylist()
    assert [row["margin"] is None for row in with_b] == [False]
    rows = find_overlap(["a", "b", "c"], store=storage.root).table.to_pylist()
    assert [(r["decision"], r["margin"] is None) for r in rows if r["dataset_a"] == "b"] == [
        ("same", True)
    ]
    with pytest.raises(FindingError, match="thresholds: one identity with images, so nobody show"):
        find_overlap(["b", "c"], store=storage.root)


@pytest.mark.parametrize(
    ("evidence", "decision"),
    [
        ((0.7, 60, 100, 0.2, None), "same"),
        ((0.7, 60, 100, -0.2, None), "same"),
        ((0.7, 14, 100, 0.2, None), "unsure"),
        ((0.7, 60, 100, 0.2, True), "same"),
        ((0.7, 0, 100, 0.2, True), "same"),
        ((0.7, 60, 100, 0.2, False), "unsure"),
        ((0.55, 10, 100, 0.2, None), "unsure"),
        ((0.55, 10, 100, float("nan"), None), "unsure"),
        ((0.55, 10, 100, -0.1, None), "different"),
        ((0.55, 5, 100, 0.2, None), "different"),
        ((0.55, 0, 1, 0.2, None), "different"),
        ((0.55, 60, 100, 0.2, False), "different"),
        ((0.45, 0, 10, 0.2, True), "same"),
        ((0.3, 0, 10, 0.2, True), "unsure"),
        ((0.3, 0, 10, 0.2, None), "different"),
    ],
)
def test_every_cell_of_the_table_of_decisions(evidence, decision):
    assert decide(*evidence, limits=LIMITS) == decision


def named(storage, name, people, seed):
    """A dataset whose identities are names: name -> number of the person."""
    make_people(
        storage, name, {n: draw_images(PEOPLE[i], 6, seed * 1000 + i) for n, i in people.items()}
    )


FIRST = ["Alba", "Bela", "Cora", "Dora", "Edda", "Fina", "Gina", "Hana", "Ilka", "Jana", "Lena"]
LAST = ["Adler", "Berger", "Conrad", "Dressler", "Ebert", "Fischer", "Gruber", "Hartmann",
        "Ingold", "Jaeger", "Kessler", "Lorenz"]  # fmt: skip
CALLED = [f"{a} {b}" for a in FIRST for b in LAST]


def test_names_that_agree_and_those_that_disagree_are_evidence(storage):
    a = {CALLED[i]: i for i in range(70)}
    b = {CALLED[i].lower().replace(" ", "_"): i for i in range(60, 130)}
    del b[CALLED[60].lower().replace(" ", "_")]
    b["another_name"] = 60  # the same person, under a name that disagrees
    b[CALLED[5].upper()] = 200  # another person of the same name
    named(storage, "a", a, 1)
    named(storage, "b", b, 2)
    result = find_overlap(["a", "b"], store=storage.root)
    rows = result.table.to_pylist()
    said = {identities_of(row)[2]: row for row in rows if row["decision"] != "different"}
    for i in range(61, 70):
        assert (said[CALLED[i]]["decision"], said[CALLED[i]]["name_match"]) == ("same", True)
    strong, weak = said[CALLED[60]], said[CALLED[5]]
    assert (strong["decision"], strong["name_match"]) == ("unsure", False)
    assert (weak["decision"], weak["name_match"]) == ("unsure", True)
    assert weak["score"] < result.compared[0].limits.named < strong["score"]
    assert len(said) == 11


def test_an_alias_makes_another_name_agree(storage, tmp_path):
    named(storage, "a", {CALLED[i]: i for i in range(40)} | {"Stefani Germanotta": 99}, 1)
    named(storage, "b", {CALLED[i]: i for i in range(60, 100)} | {"Lady_Gaga": 99}, 2)
    table = tmp_path / "people.csv"
    table.write_text("alias,name\nStefani Germanotta,Lady Gaga\n")
    decided = []
    for more in ([], ["--aliases", str(table)]):
        command = ["overlap", "a", "b", "--store", str(storage.root), "--json", *more]
        ran = CliRunner().invoke(app, command)
        assert ran.exit_code == 0, ran.output
        pairs = json.loads(ran.stdout.splitlines()[-1])["pairs"]
        [pair] = [each for each in pairs if each["b"]["identity"] == "Lady_Gaga"]
        decided.append((pair["name_match"], pair["decision"]))
    assert decided == [(False, "unsure"), (True, "same")]


def test_a_name_that_is_alike_but_for_a_letter_is_listed_only_where_faces_agree(storage):
    named(
        storage,
        "a",
        {"John Burkett": 1, "Mary Dressler": 2} | {CALLED[i]: i for i in range(9, 59)},
        1,
    )
    named(
        storage,
        "b",
        {"John Burnett": 3, "Mary Dresler": 2} | {CALLED[i]: i for i in range(60, 110)},
        2,
    )
    rows = find_overlap(["a", "b"], store=storage.root).table.to_pylist()
    assert [(r["identity_a"], r["decision"]) for r in rows] == [("Mary Dressler", "same")]


def test_few_strangers_and_many_pairs_are_warned_about(storage):
    label(storage, "a", range(20))
    label(storage, "b", range(15, 75), seed=1)
    few = find_overlap(["a", "b"], false_match=1e-4, store=storage.root)
    assert few.warnings == (
        "a: 190 pairs of strangers are few to set thresholds by; with 1,000 or more they are surer",
    )
    assert same(few) == {("a", "b", f"a{i:03d}", f"b{i:03d}") for i in range(15, 20)}
    many = find_overlap(["b"], false_match=1e-3, store=storage.root)
    assert many.warnings == (
        "of so many pairs about 2 of strangers are expected to score as the same; "
        "--false-match 6e-04 expects one",
    )


def test_recall_is_judged_by_halves_of_ones_images(storage):
    for seed, name in enumerate("ab"):
        images = {f"{name}{i}": draw_images(PEOPLE[i], 4, seed * 1000 + i, 1.4) for i in range(80)}
        make_people(storage, name, images)
    judged, found = {}, {}
    for rate in (1e-3, 1e-15):
        result = find_overlap(["a", "b"], false_match=rate, store=storage.root)
        (compared,) = result.compared
        rows = [r for r in result.table.to_pylist() if r["identity_a"][1:] == r["identity_b"][1:]]
        judged[rate] = compared.recall
        found[rate] = sum(r["score"] >= compared.limits.same for r in rows) / 80
    assert 0 <= judged[1e-15] < judged[1e-3] <= 1
    # Halves have half the images, so it is the lesser end of what is to be expected.
    assert judged[1e-15] <= found[1e-15] + 0.05
    assert judged[1e-3] <= found[1e-3] + 0.05
    label(storage, "c", range(90, 130), images=1)
    label(storage, "d", range(120, 160), images=1, seed=1)
    assert find_overlap(["c", "d"], store=storage.root).compared[0].recall is None


def test_json_has_the_keys_that_scripts_read(storage):
    label(storage, "a", range(50))
    label(storage, "b", range(45, 95), seed=1)
    line = ["overlap", "b", "a", "--store", str(storage.root), "--json"]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    about = json.loads(done.stdout.splitlines()[-1])
    assert set(about) == {
        "pairs", "datasets", "counts", "people", "identities", "finding", "compared", "warnings"
    }  # fmt: skip
    [compared] = about["compared"]
    assert set(compared) == {"a", "b", "pairs", "thresholds", "counts", "recall"}
    pair = about["pairs"][0]
    assert set(pair) == {
        "a", "b", "score", "votes", "compared", "margin", "name_match", "false_match",
        "decision", "cluster", "name_a", "name_b",
    }  # fmt: skip
    assert set(pair["a"]) == set(pair["b"]) == {"dataset", "identity"}
    assert (pair["a"]["dataset"], pair["b"]["dataset"]) == ("b", "a")
    assert pair["a"]["identity"][1:] == pair["b"]["identity"][1:]
    assert pair["decision"] == "same"
    assert about["counts"]["same"] == 5


def test_people_are_shown_the_pairs_and_what_decided(storage):
    label(storage, "a", range(50))
    label(storage, "b", range(48, 98), seed=1)
    line = ["overlap", "a", "b", "--false-match", "1e-8", "--store", str(storage.root)]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["identity", "identity", "score", "votes", "name", "decision"]
    shown = {(line[1], line[3], line[-1]) for line in lines[2:4]}
    assert shown == {("a048", "b048", "same"), ("a049", "b049", "same")}
    assert ["people", "joined", "2"] in lines
    assert "different" not in done.stdout


def test_a_model_that_gives_strangers_high_cosines_finds_the_same_people(storage):
    # What all embeddings have in common lifts strangers' cosines from 0 to 0.9, as dlib's are.
    common = 3 * draw_people(1, seed=9)[0]
    for name, numbers in (("a", range(60)), ("b", range(50, 110))):
        people = {
            f"{name}{i:03d}": draw_images(PEOPLE[i] + common, 8, i + 1_000 * (name == "b"))
            for i in numbers
        }
        make_people(storage, name, people)
    one = gallery(storage, "a").templates.centres
    assert np.median((one @ one.T)[np.triu_indices(len(one), 1)]) > 0.85
    for name in "ab":
        assert len(gallery(storage, name).templates.centres) == 60  # nobody is split in two
    result = find_overlap(["a", "b"], store=storage.root)
    limits = result.compared[0].limits
    assert limits.named < limits.unsure < limits.same < 1
    assert 0.85 < limits.image < 1
    assert same(result) == {("a", "b", f"a{i:03d}", f"b{i:03d}") for i in range(50, 60)}


def test_missing_embeddings_are_made_first(storage, tmp_path):
    model = str(mean_colour_embedder(tmp_path / "colour.onnx"))
    for name in "ab":
        make_dataset(storage, name, {f"p{i:02d}": 2 for i in range(12)})
    seen = []
    result = find_overlap(["a", "b"], embedder=model, store=storage.root, report=seen.append)
    assert {"embed a by colour", "embed b by colour", "compare a with b"} <= {p.stage for p in seen}
    assert result.finding == find_overlap(["a", "b"], store=storage.root).finding


def test_what_can_not_be_compared_is_refused(storage):
    label(storage, "a", range(5))
    make_people(storage, "crawl", draw_images(PEOPLE[0], 3, 1))
    where = {"store": storage.root}
    with pytest.raises(
        UsageError,
        match="crawl: is unlabeled and has no identities; expected a dataset with identities; "
        "fusekit cluster gives an unlabeled one pseudo-identities",
    ):
        find_overlap(["a", "crawl"], **where)
    with pytest.raises(
        UsageError,
        match="datasets: names a dataset twice: a, a; expected each once; one name alone compares "
        "it with itself",
    ):
        find_overlap(["a", "a"], **where)
    with pytest.raises(UsageError, match="datasets: none is named; expected at least one"):
        find_overlap([], **where)
    for rate in (0, 0.5, float("nan"), -1e-6):
        with pytest.raises(UsageError, match=r"--false-match: .*; expected 1e-15 to 0.001"):
            find_overlap(["a"], false_match=rate, **where)
    with pytest.raises(StoreError, match="nobody"):
        find_overlap(["nobody"], **where)


def test_an_identity_without_images_left_is_in_no_pair(storage):
    people = {f"a{i:03d}": draw_images(PEOPLE[i], 4, i) for i in range(50)}
    people["a049"][:] = 0
    make_people(storage, "a", people)
    label(storage, "b", range(45, 95), seed=1)
    pairs = same(find_overlap(["a", "b"], store=storage.root))
    assert pairs == {("a", "b", f"a{i:03d}", f"b{i:03d}") for i in range(45, 49)}


def test_limits_fall_as_more_false_matches_are_allowed(storage):
    label(storage, "a", range(60))
    one = gallery(storage, "a")
    limits = [limits_between(one, one, rate) for rate in (1e-12, 1e-8, 1e-4)]
    assert [each.same for each in limits] == sorted((each.same for each in limits), reverse=True)
    assert len({each.image for each in limits}) == 1


def test_a_name_never_asks_for_a_higher_score_than_no_name(storage):
    label(storage, "a", range(60))
    one = gallery(storage, "a")
    for rate in (1e-3, 3e-4, 1e-4, 1e-5, 1e-12):
        limits = limits_between(one, one, rate)
        assert limits.named <= limits.unsure <= limits.same
