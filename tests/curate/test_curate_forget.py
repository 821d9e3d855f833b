import importlib
import json
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.erasures import (
    crop_of,
    digests,
    files_with,
    files_with_windows,
    make_whole_store,
    samples,
    windows,
)
from support.people import MODEL
from support.recipes import build, give_finding
from support.stores import make_dataset

from fusekit.curate.forget import forget
from fusekit.errors import RecipeError, StoreError, UsageError
from fusekit.fingerprint import fingerprint
from fusekit.formats.tar import read_members
from fusekit.mixture.mixture import Mixture
from fusekit.report.verify import verify_store
from fusekit.schema import OVERLAP_SCHEMA
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.findings import find_fresh, list_findings, read_finding_table, write_finding
from fusekit.store.heads import load_head
from fusekit.store.layout import open_store
from fusekit.store.protocol import keep_protocol, spool_protocol
from fusekit.store.sql import query


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("forget") / "store"
    make_whole_store(path)
    return path


@pytest.fixture
def store(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(whole, tmp_path / "store"))


@pytest.fixture(scope="module")
def erased(whole, tmp_path_factory):
    """A store from which Ann Lee was erased, and the result."""
    path = tmp_path_factory.mktemp("erased")
    patch = pytest.MonkeyPatch()
    patch.setenv("FUSEKIT_CACHE", str(path / "cache"))
    store = Path(shutil.copytree(whole, path / "store"))
    result = forget(identity="Ann Lee", store=store)
    patch.undo()
    return store, result


def of_person(store, dataset, person):
    return [row for row in samples(store, dataset) if row["identity"] == person]


def test_the_result_counts_what_was_erased(erased):
    about = erased[1].as_json()
    assert (about["samples"], about["shards"]) == (9, 2)
    assert about["proved"] is True
    assert about["left"] == []
    assert about["mixtures"] == ["ten"]
    assert about["datasets"] == [
        {"dataset": "people", "identities": ["Ann Lee"],
            "names": ["Annabel Lee"], "items": 9, "samples": 9, "shards": 2,
         "copies": 0}
    ]  # fmt: skip


def test_no_byte_of_a_crop_is_left_in_the_store(whole, erased):
    mine = of_person(whole, "people", "Ann Lee")
    others = set[bytes]().union(
        *(windows(crop_of(whole, row)) for name in ("people", "others", "crawl", "evaluation")
          for row in samples(whole, name) if row["identity"] != "Ann Lee")
    )  # fmt: skip
    wanted = set[bytes]().union(*(windows(crop_of(whole, row)) for row in mine)) - others
    assert len(wanted) > 1000
    assert files_with_windows(whole, wanted)
    assert files_with_windows(erased[0], wanted) == []


def test_no_text_of_a_person_is_left_in_the_store(whole, erased):
    for text in ("Ann Lee", "Annabel Lee"):
        assert files_with(whole, text)
        assert files_with(erased[0], text) == []


def test_the_store_is_sound_afterwards(erased):
    assert verify_store(erased[0]).problems == ()


def test_no_other_byte_of_a_shard_moves(whole, erased):
    mine = {row["key"] for row in of_person(whole, "people", "Ann Lee")}
    for shard in sorted((whole / "datasets/people/shards").glob("*.tar")):
        was = shard.read_bytes()
        now = (erased[0] / shard.relative_to(whole)).read_bytes()
        assert len(now) == len(was)
        with shard.open("rb") as file:
            members = list(read_members(file, shard.name))
        with (erased[0] / shard.relative_to(whole)).open("rb") as file:
            left = list(read_members(file, shard.name))
        assert left == [m for m in members if m.name.partition(".")[0] not in mine]
        for member in members:
            place = slice(member.offset, member.offset + member.length)
            gone = member.name.partition(".")[0] in mine
            assert now[place] == (bytes(member.length) if gone else was[place])


@pytest.mark.filterwarnings("ignore")  # webdataset leaves its files open
def test_other_readers_of_tars_skip_the_erased_members(whole, erased):
    mine = {row["key"] for row in of_person(whole, "people", "Ann Lee")}
    shard = "datasets/people/shards/people-000000.tar"
    with tarfile.open(whole / shard) as tar:
        expected = [m.name for m in tar if m.name.partition(".")[0] not in mine]
    with tarfile.open(erased[0] / shard) as tar:
        assert [member.name for member in tar if member.isfile()] == expected
    webdataset = importlib.import_module("webdataset")
    read = webdataset.WebDataset(str(erased[0] / shard), shardshuffle=False)
    keys = [sample["__key__"] for sample in read]
    assert keys == [name.removesuffix(".jpg") for name in expected if name.endswith(".jpg")]


def test_rows_keep_their_places_and_numbers(whole, erased):
    kept = ["key", "identity_index", "shard", "offset", "unit", "dataset_index"]
    was, now = samples(whole, "people"), samples(erased[0], "people")
    assert [[row[c] for c in kept] for row in now] == [[row[c] for c in kept] for row in was]
    for before, after in zip(was, now, strict=True):
        if before["identity"] == "Ann Lee":
            assert after["length"] == 0
            assert after["identity"] is None
            assert after["source"] == f"forgotten:{after['key'][:16]}"
            assert after["source_digest"] == after["content_digest"] == bytes(16)
            assert after["bbox"] is after["landmarks"] is after["det_score"] is None
        else:
            assert after == before


def test_sql_does_not_show_erased_rows(erased):
    rows = query("SELECT count(*) AS n FROM samples WHERE dataset = 'people'", erased[0])
    assert rows.to_pylist() == [{"n": 15}]
    rows = query("SELECT identity FROM identities WHERE dataset = 'people' ORDER BY 1", erased[0])
    assert rows["identity"].to_pylist() == ["bob", "cid"]


def test_embeddings_stay_usable_with_zeros_for_the_erased(whole, erased):
    storage = open_store(erased[0])
    blocks = EmbeddingSet.open(storage, open_dataset(storage, "people")).blocks()
    zero = np.concatenate([~block.vectors.any(axis=1) for block in blocks])
    expected = [row["identity"] == "Ann Lee" for row in samples(whole, "people")]
    assert zero.tolist() == expected


def test_findings_stay_fresh_without_the_person(erased):
    storage = open_store(erased[0])
    finding = find_fresh(storage, "activation", datasets=["crawl"])
    names = read_finding_table(storage, finding)["nearest_identity"].to_pylist()
    assert set(names) == {"forgotten:0", "bob"}
    overlap = find_fresh(storage, "overlap", datasets=["people", "others"])
    assert read_finding_table(storage, overlap)["identity_a"].to_pylist() == ["forgotten:0"]


def test_a_finding_whose_description_names_the_person_is_removed(store):
    storage = open_store(store)
    (finding,) = list_findings(storage, "overlap")
    write_finding(storage, "overlap", finding.about | {"aliases": ["Ann Lee"]}, [], OVERLAP_SCHEMA)
    assert forget(identity="Ann Lee", store=store).proved
    assert [f.fingerprint for f in list_findings(storage, "overlap")] == [finding.fingerprint]


def test_a_head_keeps_its_rows_but_not_the_persons_centre(whole, erased):
    was, now = (load_head(open_store(path), "known") for path in (whole, erased[0]))
    assert now.ranges == was.ranges
    assert now.identities == ("forgotten:0", "bob", "n1")
    assert (now.weight[1:] == was.weight[1:]).all()
    assert abs(float(now.weight[0] @ was.weight[0])) < 0.5


def test_a_mixture_keeps_its_rows_labels_and_fingerprint(whole, erased):
    was, now = (Mixture.open("ten", path, verify="files") for path in (whole, erased[0]))
    assert now.fingerprint == was.fingerprint
    for column in ("shard", "offset", "label", "source", "format"):
        assert (getattr(now.index, column) == getattr(was.index, column)).all()
    gone = now.index.length == 0
    assert gone.sum() == 9
    assert (now.index.length[~gone] == was.index.length[~gone]).all()
    assert not now.index.digest[gone].any()
    assert now.classes["identity"].to_pylist() == ["forgotten:0", "bob", "cid", "n1", "n2"]
    assert now.classes["images"].to_pylist() == was.classes["images"].to_pylist()


def test_an_unlabeled_sample_is_erased_by_its_key(store):
    row = samples(store, "crawl")[0]
    result = forget(key=row["key"], store=store)
    assert (result.samples, result.proved) == (1, True)
    assert files_with(store, row["source"]) == []
    assert verify_store(store).problems == ()


def test_an_item_is_erased_by_its_source_and_its_person_stays(store):
    source = of_person(store, "people", "bob")[0]["source"]
    result = forget(source=source, store=store)
    assert result.samples == 1
    assert result.datasets[0].identities == ()
    assert files_with(store, source) == []
    assert files_with(store, "bob")
    assert verify_store(store).problems == ()


def test_the_last_item_of_a_person_takes_the_person_with_it(store):
    for row in of_person(store, "evaluation", "fay"):
        result = forget(source=row["source"], store=store)
    assert result.datasets[0].identities == ("fay",)
    assert files_with(store, "fay") == []
    assert verify_store(store).problems == ()


def test_pairs_of_an_evaluation_set_keep_their_rows_and_keys(store):
    was = pq.read_table(store / "datasets/evaluation/pairs.parquet")
    forget(identity="eve", store=store)
    now = pq.read_table(store / "datasets/evaluation/pairs.parquet")
    assert now["key_a"].to_pylist() == was["key_a"].to_pylist()
    assert now["source_b"].to_pylist()[0] == "fay/00003.jpg"
    assert files_with(store, "eve/") == []
    assert verify_store(store).problems == ()


def test_copies_of_the_bytes_go_with_them(store):
    storage = open_store(store)
    crops = [crop_of(store, row) for row in of_person(store, "people", "cid")[:2]]
    make_dataset(storage, "again", {"x": 2, "y": 1}, images=[*crops, b"another picture"])
    source = of_person(store, "people", "cid")[0]["source"]
    with pytest.raises(StoreError, match=r"--source .*: is in people; copies of its pictures are "
                       r"in again; expected one dataset; --everywhere erases"):  # fmt: skip
        forget(source=source, store=store)
    result = forget(source=source, everywhere=True, store=store)
    assert [(d.dataset, d.samples, d.copies) for d in result.datasets] == [
        ("again", 1, 1), ("people", 1, 0),
    ]  # fmt: skip
    assert result.proved


def test_everywhere_follows_the_overlap_findings(store):
    result = forget(identity="annabel_LEE", everywhere=True, store=store)
    found = [(each.dataset, each.identities, each.samples) for each in result.datasets]
    assert found == [("others", ("n2",), 5), ("people", ("Ann Lee",), 9)]
    assert result.proved
    assert verify_store(store).problems == ()


def test_a_name_in_several_datasets_is_refused_with_their_names(store):
    make_dataset(open_store(store), "more", {"ann_lee": 3}, seed=9)
    with pytest.raises(StoreError, match="--identity Ann Lee: is in more, people; expected one"):
        forget(identity="Ann Lee", store=store)
    result = forget(identity="Ann Lee", dataset="more", store=store)
    assert [(each.dataset, each.samples) for each in result.datasets] == [("more", 3)]
    assert result.proved
    assert files_with(store, "Ann Lee")


def test_a_dry_run_changes_nothing_and_counts_the_same(store):
    before = digests(store)
    result = forget(identity="Ann Lee", dry_run=True, store=store)
    assert (result.samples, result.shards, result.proved) == (9, 2, False)
    assert digests(store) == before


def test_who_says_no_changes_nothing(store):
    before, asked = digests(store), []
    result = forget(
        identity="Ann Lee", store=store, confirm=lambda plan: asked.append(plan.samples)
    )
    assert asked == [9]
    assert result.dry_run
    assert digests(store) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"identity": "Ann Li"}, "--identity Ann Li: is not in the store; did you mean 'Ann Lee'?"),
        ({"identity": "zz"}, "--identity zz: is not in the store; fusekit sql shows the view"),
        ({"source": "no/such.jpg"}, "is not in the store; give the source as the view samples"),
        ({"key": "abc_00"}, "--key abc_00: is not in the store"),
        ({"key": "abc_00", "dataset": "crawl"}, "--key abc_00: is not in crawl"),
        ({"key": "abc_00", "dataset": "none"}, "none: is no dataset of this store; expected crawl"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(store, given, message):
    with pytest.raises(StoreError) as caught:
        forget(**given, store=store)
    assert message in str(caught.value)


def test_what_was_forgotten_before_is_said_to_be(store):
    source = of_person(store, "people", "bob")[0]["source"]
    forget(source=source, store=store)
    with pytest.raises(StoreError, match="was forgotten before; nothing of it is in the store"):
        forget(source=source, store=store)


@pytest.mark.parametrize("given", [{}, {"identity": "a", "key": "b"}])
def test_exactly_one_thing_is_asked_for(store, given):
    with pytest.raises(UsageError, match=r"(none|2) of --identity, --source and --key; expected"):
        forget(**given, store=store)


def test_an_unfinished_ingest_with_the_same_person_stops_it(store):
    (store / "datasets/others/dataset.json").unlink()
    with pytest.raises(StoreError, match="--identity n2: is in others too, whose ingest is not"):
        forget(identity="n2", store=store)


def test_a_dataset_that_is_being_written_stops_it(store):
    storage = open_store(store)
    before = digests(store)
    with storage.lock("people"), pytest.raises(StoreError, match="people: another run is writing"):
        forget(identity="Ann Lee", store=store)
    assert digests(store) == before


def test_two_at_once_are_refused(store):
    with open_store(store).lock("forget"), pytest.raises(StoreError, match="forget: another run"):
        forget(identity="Ann Lee", store=store)


def test_what_is_left_elsewhere_in_the_store_is_found(store):
    row = of_person(store, "people", "Ann Lee")[3]
    data = crop_of(store, row)
    at = next(i for i in range(len(data) - 300, 0, -1) if len(set(data[i : i + 64])) > 40)
    (store / "notes.bin").write_bytes(b"x" * 1001 + data[at : at + 100] + b"y" * 77)
    (store / "notes.json").write_text(json.dumps({"who": ["Ann Lee"]}))
    result = forget(identity="Ann Lee", store=store)
    assert (result.proved, result.left) == (False, ("notes.bin", "notes.json"))


def test_a_shard_that_is_not_the_manifests_is_refused_before_anything_is_erased(store):
    shard = store / "datasets/people/shards/people-000000.tar"
    data = bytearray(shard.read_bytes())
    # Two letters changed places: the head's checksum holds, the name is another.
    at = next(i for i in range(15) if data[i] != data[i + 1])
    data[at], data[at + 1] = data[at + 1], data[at]
    shard.write_bytes(data)
    before = digests(store)
    with pytest.raises(StoreError, match=r"stands at byte 512; expected .* of the manifest; fusek"):
        for person in ("Ann Lee", "bob", "cid"):
            forget(identity=person, dry_run=True, store=store)
    assert digests(store) == before


def test_people_that_a_mixture_left_out_are_blanked_in_its_description(store):
    where = store / "mixtures/ten/mixture.json"
    about = json.loads(where.read_text())
    about["removed"] = [{"dataset": "people", "identity": "Ann Lee", "reason": "lfw: name"}]
    del about["digest"]
    where.write_text(json.dumps(about | {"digest": fingerprint(about)}))
    assert forget(identity="Ann Lee", store=store).proved
    (removed,) = json.loads(where.read_text())["removed"]
    assert removed["identity"] == "forgotten:0"
    assert verify_store(store, "ten").problems == ()


def test_the_embedder_says_whose_overlap_counts(store, monkeypatch):
    found = SimpleNamespace(sha256="00" * 32)
    monkeypatch.setattr("fusekit.curate.forget.resolve_model", lambda *_: found)
    result = forget(identity="Ann Lee", everywhere=True, embedder="x", dry_run=True, store=store)
    assert [each.dataset for each in result.datasets] == ["people"]
    found.sha256 = MODEL.sha256
    result = forget(identity="Ann Lee", everywhere=True, embedder="x", dry_run=True, store=store)
    assert [each.dataset for each in result.datasets] == ["others", "people"]


def test_verify_finds_a_damaged_tombstone(store):
    forget(identity="Ann Lee", store=store)
    (path,) = (store / "tombstones").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    found = [str(problem) for problem in verify_store(store).problems]
    assert any(line.startswith(f"tombstones/{path.name}: is no table") for line in found)


def test_listing_an_evaluation_set_anew_does_not_bring_blanked_pairs_back(store):
    storage = open_store(store)
    planned = "datasets/evaluation/plan/pairs.parquet"
    listed = pq.read_table(storage.path(planned))
    forget(identity="eve", store=store)
    blanked = storage.read(planned)
    with spool_protocol(storage, "evaluation", {"pairs": iter(listed.to_batches())}) as spool:
        keep_protocol(storage, "evaluation", spool)
    assert storage.read(planned) == blanked
    storage.write(planned, b"damaged")
    with spool_protocol(storage, "evaluation", {"pairs": iter(listed.to_batches())}) as spool:
        keep_protocol(storage, "evaluation", spool)
    assert pq.read_table(storage.path(planned)).equals(listed)


def test_second_people_of_an_erased_class_are_blanked_too(store):
    storage = open_store(store)
    make_dataset(storage, "doubles", {"ann": 6, "ann#2": 3, "bob": 3}, seed=8)
    keys = [row["key"] for row in of_person(store, "doubles", "ann")]
    rows = [{"key": key, "identity": "ann", "identity_index": 0, "flag": "split", "cluster": 1}
            for key in keys[:3]]  # fmt: skip
    give_finding(storage, "label-noise", ["doubles"], rows)
    source = {"dataset": "doubles", "clean": {"split": "split"}}
    build(storage, source, name="two", batch={"size": 4, "unlabeled_fraction": 0})
    members = store / "mixtures/two/members.parquet"
    assert pq.read_table(members)["identity"].to_pylist() == ["ann", "ann#2", "bob", "ann#3"]
    about = json.loads((store / "heads/known.json").read_text())
    about["rows"][2] = ["doubles", "ann#3"]
    del about["digest"]
    (store / "heads/known.json").write_text(json.dumps(about | {"digest": fingerprint(about)}))
    assert forget(identity="ann", dataset="doubles", store=store).proved
    assert pq.read_table(members)["identity"].to_pylist() == [
        "forgotten:0", "ann#2", "bob", "forgotten:0"
    ]  # fmt: skip
    classes = pq.read_table(members.with_name("classes.parquet"))
    assert classes["identity"].to_pylist() == ["forgotten:0", "ann#2", "bob", "forgotten:0"]
    assert json.loads((store / "heads/known.json").read_text())["rows"][2][1] == "forgotten:0"
    assert files_with(store, "ann#3") == []
    assert len(of_person(store, "doubles", "ann#2")) == 3
    assert verify_store(store).problems == ()


def test_a_second_person_that_is_left_is_found(store, monkeypatch):
    storage = open_store(store)
    rows = [{"key": of_person(store, "people", "Ann Lee")[0]["key"], "identity": "Ann Lee",
             "identity_index": 0, "flag": "split", "cluster": 1}]  # fmt: skip
    made = give_finding(storage, "label-noise", ["people"], rows)
    clean = {"split": "split", "finding": made.fingerprint[:12]}
    batch = {"size": 4, "unlabeled_fraction": 0}
    build(storage, {"dataset": "people", "clean": clean}, name="two", batch=batch)
    monkeypatch.setattr("fusekit.store.erasure._split_off", lambda column, gone: {})
    result = forget(identity="Ann Lee", store=store)
    assert result.left == ("mixtures/two/classes.parquet", "mixtures/two/members.parquet")


def test_what_killed_runs_left_of_findings_and_mixtures_is_removed(store):
    table = next((store / "findings/overlap").iterdir())
    shutil.copytree(table, store / "findings/overlap" / ("0" * 64))
    (store / "findings/overlap" / ("0" * 64) / "finding.json").unlink()
    shutil.copytree(store / "mixtures/ten", store / "mixtures/half")
    (store / "mixtures/half/mixture.json").unlink()
    assert forget(identity="Ann Lee", store=store).proved
    assert files_with(store, "Ann Lee") == []
    assert not (store / "findings/overlap" / ("0" * 64)).exists()
    assert not (store / "mixtures/half").exists()
    assert table.is_dir()


def test_people_whom_a_recipe_leaves_out_by_name_are_blanked_in_it(store):
    storage = open_store(store)
    exclude = {"identities": {"people": ["bob", "Ann Lee"]}}
    build(storage, "people", name="some", exclude=exclude,
          batch={"size": 4, "unlabeled_fraction": 0})  # fmt: skip
    assert forget(identity="Ann Lee", store=store).proved
    assert files_with(store, "Ann Lee") == []
    about = json.loads((store / "mixtures/some/mixture.json").read_text())
    assert about["recipe"]["exclude"]["identities"] == {"people": ["bob", "forgotten:0"]}
    assert [each["identity"] for each in about["removed"]] == ["forgotten:0", "bob"]
    assert Mixture.open(store / "mixtures/some", store).classes.num_rows == 1
    message = "no identity is named 'Ann Lee'; if fusekit forget erased them, take the name out"
    with pytest.raises(RecipeError, match=message):
        build(storage, "people", name="some", exclude=exclude)
    assert verify_store(store).problems == ()


def test_a_finding_does_not_tell_by_another_sets_name_who_was_erased(store):
    row = {
        "dataset": "people", "identity": "Ann Lee", "identity_index": 0, "evaluation": "evaluation",
        "evaluation_identity": "fay", "reason": "embedding", "decision": "same",
    }  # fmt: skip
    storage = open_store(store)
    found = give_finding(storage, "contamination", ["people"], [row], also=["evaluation"])
    assert forget(identity="Ann Lee", store=store).proved
    (row,) = read_finding_table(storage, found).to_pylist()
    assert (row["identity"], row["evaluation_identity"]) == ("forgotten:0", None)


def test_everywhere_follows_contamination_findings_into_evaluation_sets(store):
    row = {
        "dataset": "people", "identity": "Ann Lee", "identity_index": 0, "evaluation": "evaluation",
        "evaluation_identity": "fay", "reason": "embedding", "decision": "same",
    }  # fmt: skip
    listed = row | {"evaluation_identity": None, "reason": "published"}
    perhaps = row | {"evaluation_identity": "eve", "decision": "unsure"}
    give_finding(
        open_store(store), "contamination", ["people"], [row, listed, perhaps],
        also=["evaluation"], against=["evaluation"],
    )  # fmt: skip
    result = forget(identity="Ann Lee", everywhere=True, store=store)
    found = {each.dataset: each.identities for each in result.datasets}
    assert found == {"evaluation": ("fay",), "others": ("n2",), "people": ("Ann Lee",)}
    assert result.proved
    assert verify_store(store).problems == ()
