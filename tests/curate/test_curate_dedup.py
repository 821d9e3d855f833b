"""Copies of one picture: found by bytes and by looks, the best one kept, conflicts told."""

import re

import cv2
import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
from support.people import draw_images, draw_people, embed_as
from support.stores import draw_crop, make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.curate.dedup import find_duplicates
from fusekit.curate.exact_copies import find_exact
from fusekit.errors import StoreError, UsageError
from fusekit.schema import DUPLICATES_SCHEMA, MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store, sample_key
from fusekit.store.tables import read_table, write_table

PEOPLE = draw_people(40)


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def jpeg(crop, quality=95):
    return simplejpeg.encode_jpeg(np.ascontiguousarray(crop), quality, colorsubsampling="444")


def moved(crop, matrix):
    return cv2.warpAffine(crop, np.array(matrix), (112, 112), borderMode=cv2.BORDER_REPLICATE)


COPIES = {
    "compressed": lambda crop: simplejpeg.decode_jpeg(jpeg(crop, 30)),
    "shrunk": lambda crop: cv2.resize(cv2.resize(crop, (56, 56)), (112, 112)),
    "darker": lambda crop: (crop * 0.6).astype(np.uint8),
    "cut otherwise": lambda crop: moved(crop, [[1.02, 0.01, -1.5], [-0.01, 1.02, 0.5]]),
    "stretched": lambda crop: moved(crop, [[1.04, 0, -2.2], [0, 0.97, 1.7]]),
    "mirrored": lambda crop: crop[:, ::-1],
    "mirrored and compressed": lambda crop: simplejpeg.decode_jpeg(jpeg(crop[:, ::-1], 40)),
}


def make(storage, name, pictures, *, people=None, names=None, kind="labeled"):
    """A dataset of (identity, crop or bytes, person), embedded as these people."""
    sizes = {}
    for identity, _, _ in pictures:
        sizes[identity] = sizes.get(identity, 0) + 1
    images = [p if isinstance(p, bytes) else jpeg(p) for _, p, _ in pictures]
    given = len(images) if None in sizes else sizes
    info = make_dataset(storage, name, given, images=images, names=names, kind=kind)
    outputs = [draw_images(PEOPLE[who], 1, 50 + who, spread=0.1) for *_, who in pictures]
    embed_as(storage, info, np.concatenate(outputs))
    return info


def key(identity, item):
    return sample_key(f"{identity or 'crawl'}/{item:05d}.jpg", 0)


def strangers(count, first=20):
    return [(f"s{i}", draw_crop(900 + i), first + i) for i in range(count)]


def rows(storage, *datasets):
    finding = find_fresh(storage, "duplicates", datasets=datasets)
    table = read_finding_table(storage, finding)
    assert table.schema == DUPLICATES_SCHEMA
    return table.to_pylist()


def find(storage, *datasets, **options):
    return find_duplicates(datasets, store=storage.path("."), **options)


@pytest.mark.parametrize("how", COPIES)
def test_a_near_copy_is_found_and_others_are_not(storage, how):
    crop = draw_crop(1)
    pictures = [("a", crop, 1), ("a", COPIES[how](crop), 1), ("a", draw_crop(2), 1)]
    make(storage, "d", [*pictures, *strangers(12)])
    result = find(storage, "d")
    assert (result.exact, result.near, result.dropped, result.conflicts) == (0, 1, 1, ())
    found = rows(storage, "d")
    assert [row["key"] for row in found if row["match"] == "near"] == [row["key"] for row in found]
    assert {row["key"] for row in found} == {key("a", 0), key("a", 1)}
    assert [row["decision"] for row in found] == ["keep", "drop"]
    assert [row["best"] for row in found] == [True, False]
    assert found[0]["distance"] == 0
    assert 0 <= found[1]["distance"] <= 23
    assert found[1]["cosine"] > 0.9


def test_two_people_are_no_copies_however_alike_the_pictures(storage):
    crop = draw_crop(1)
    make(storage, "d", [("a", crop, 1), ("b", COPIES["compressed"](crop), 2), *strangers(12)])
    assert find(storage, "d").near == 0


def test_another_picture_of_the_person_is_no_copy_though_its_hash_is_near(storage):
    frame = draw_crop(1).copy()
    frame[50:80, 40:72] = 255 - frame[50:80, 40:72]  # the mouth opens
    make(storage, "d", [("a", draw_crop(1), 1), ("a", frame, 1), *strangers(12)])
    result = find(storage, "d", distance=40)
    assert result.candidates >= 1
    assert result.near == 0


def test_equal_bytes_are_found_within_and_between_datasets(storage):
    same = jpeg(draw_crop(1))
    make(storage, "d", [("a", same, 1), ("a", same, 1), *strangers(3)])
    make(storage, "e", [("x", same, 1), *strangers(3, 30)])
    result = find(storage, "d", "e", near=False)
    # Both sets drew the same strangers, so each is a copy between them.
    assert (result.exact, result.near) == (5, 0)
    assert result.between == {("d", "d"): 1, ("d", "e"): 4}
    assert result.as_json()["between"][1] == {"best": "d", "copy": "e", "copies": 4}
    group = [row for row in rows(storage, "d", "e") if row["group"] == 0]
    assert [(r["dataset"], r["match"], r["distance"], r["cosine"]) for r in group] == [
        ("d", "source", 0, None), ("d", "source", 0, None), ("e", "source", 0, None)
    ]  # fmt: skip


def test_exact_asks_for_no_embeddings(storage):
    make_dataset(storage, "d", {"a": 3})
    assert find(storage, "d", near=False).exact == 0
    assert storage.names("datasets/d/embeddings") == []


def test_copies_under_two_identities_of_a_dataset_wait_for_a_person(storage):
    same = jpeg(draw_crop(1))
    make(storage, "d", [("a", same, 1), ("b", same, 1), *strangers(12)])
    result = find(storage, "d")
    assert result.as_json()["conflicts"] == [[key("a", 0), key("b", 1)]]
    assert result.dropped == 0
    found = rows(storage, "d")
    assert [(r["conflict"], r["decision"]) for r in found] == [(True, "unsure")] * 2


def test_names_that_differ_between_datasets_are_a_conflict_and_codes_are_not(storage):
    same = jpeg(draw_crop(1))
    make(storage, "d", [("0001", same, 1)], names={"0001": "Ben Affleck"})
    make(storage, "e", [("m.1", same, 1)], names={"m.1": "Matt Damon"})
    make(storage, "f", [("n000106", same, 1)])
    make(storage, "g", [("ben_afflek", same, 1)])
    assert [c.datasets for c in find(storage, "d", "e", near=False).conflicts] == [("d", "e")]
    assert [r["decision"] for r in rows(storage, "d", "e")] == ["keep", "drop"]
    assert find(storage, "d", "f", near=False).conflicts == ()
    assert find(storage, "d", "g", near=False).conflicts == ()


def test_a_test_set_keeps_its_pictures_and_a_label_outranks_a_crawl(storage):
    same = jpeg(draw_crop(1))
    make(storage, "crawl", [(None, same, 1)])
    make(storage, "train", [("a", same, 1)])
    make(storage, "test", [("b", same, 1), ("c", same, 1)], kind="evaluation")
    find(storage, "crawl", "train", near=False)
    decisions = {r["dataset"]: r["decision"] for r in rows(storage, "crawl", "train")}
    assert decisions == {"crawl": "drop", "train": "keep"}
    find(storage, "train", "test", near=False)
    assert {r["decision"] for r in rows(storage, "train", "test")} == {"unsure"}  # b is not c


def test_the_same_inputs_give_the_same_finding_with_any_number_of_threads(storage, monkeypatch):
    crop = draw_crop(1)
    make(storage, "d", [("a", f(crop), 1) for f in COPIES.values()] + strangers(12))
    tables = []
    for threads in (1, 3):
        monkeypatch.setattr("fusekit.curate.dedup.default_workers", lambda n=threads: n)
        name = f"{layout.finding('duplicates', find(storage, 'd').finding)}/table.parquet"
        tables.append(storage.read(name))
        storage.remove(name)
    assert tables[0] == tables[1]


def test_an_erased_sample_is_no_copy(storage):
    same = jpeg(draw_crop(1))
    info = make(storage, "d", [("a", same, 1), ("a", same, 1), *strangers(3)])
    change(
        storage, info, "length", lambda i, row: 0 if row["key"] == key("a", 0) else row["length"]
    )
    assert find(storage, "d", near=False).exact == 0


def change(storage, info, column, value):
    table = read_table(storage, info.files[0], MANIFEST_SCHEMA)
    values = [value(i, row) for i, row in enumerate(table.to_pylist())]
    at = table.schema.get_field_index(column)
    field = MANIFEST_SCHEMA.field(column)
    table = table.set_column(at, field, pa.array(values, field.type))
    write_table(storage, info.files[0], table, MANIFEST_SCHEMA)


def test_faces_of_one_item_are_no_copies_and_the_same_face_of_equal_items_is(storage):
    info = make_dataset(storage, "d", {"a": 4})
    # Four crops: two faces of item x, and the same two of item y, a file with the same bytes.
    change(storage, info, "source_digest", lambda i, row: b"one picture here"[:16])
    change(storage, info, "source", lambda i, row: "x.jpg" if i < 2 else "y.jpg")
    boxes = [[0, 0, 50, 50], [60, 0, 110, 50]]
    change(storage, info, "bbox", lambda i, row: boxes[i % 2])
    found = find_exact(storage, [info], [0])
    assert found["content"].tolist() == []
    assert sorted(found["source"].tolist()) == [[2, 0], [3, 1]]


def test_equal_crops_of_other_items_match_by_content(storage):
    same = jpeg(draw_crop(1))
    info = make(storage, "d", [("a", same, 1), ("a", same, 1)])
    change(storage, info, "source_digest", lambda i, row: bytes([i] * 16))
    find(storage, "d", near=False)
    assert [row["match"] for row in rows(storage, "d")] == ["content"] * 2


@pytest.mark.parametrize(
    ("datasets", "options", "message"),
    [
        ([], {}, "dedup: names no dataset; expected one or more"),
        (["d", "d"], {}, "dedup: names a dataset twice: d, d; expected each once"),
        (["d"], {"distance": 41}, "--distance: 41 of 128 bits; expected 0 to 40"),
    ],
)
def test_what_cannot_be_asked_is_said(storage, datasets, options, message):
    make_dataset(storage, "d", {"a": 1})
    with pytest.raises(UsageError, match=message):
        find(storage, *datasets, **options)


def test_a_dataset_that_is_not_there_is_named(storage):
    with pytest.raises(StoreError, match="nothing: is not ingested"):
        find(storage, "nothing")


def test_a_damaged_manifest_is_told(storage):
    info = make_dataset(storage, "d", {"a": 2})
    path = storage.path(info.files[0])
    data = bytearray(path.read_bytes())
    data[4:200] = bytes(196)
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"d: manifests can't be compared: .*fusekit verify"):
        find(storage, "d", near=False)


def test_a_crawl_alone_finds_its_copies_though_half_of_it_are_copies(storage):
    pictures = [(None, draw_crop(i), i) for i in range(24)]
    copies = [(None, COPIES["compressed"](draw_crop(i)), i) for i in range(24)]
    make(storage, "crawl", pictures + copies)
    result = find(storage, "crawl")
    assert (result.exact, result.near, result.dropped) == (0, 24, 24)
    assert result.cosine < 0.9


def test_the_command_shows_counts_and_the_first_conflicts(storage):
    same = [jpeg(draw_crop(i)) for i in range(22)]
    pictures = [(name, image, i) for name in ("a", "b") for i, image in enumerate(same)]
    make(storage, "d", pictures)
    ran = CliRunner().invoke(app, ["dedup", "d", "--exact", "--store", str(storage.path("."))])
    assert ran.exit_code == 0, ran.output
    assert re.search(r"^exact copies +22$", ran.stdout, re.MULTILINE)
    assert re.search(r"^left out +0$", ran.stdout, re.MULTILINE)
    assert re.search(r"^d +d +22$", ran.stdout, re.MULTILINE)
    assert len(re.findall(r"^d +(?:a / b|b / a) ", ran.stdout, re.MULTILINE)) == 20
    assert ran.stdout.endswith("and 2 more, all in the finding and --json\n")


def test_datasets_without_a_sample_hold_no_copies(storage):
    empty = make_dataset(storage, "empty", 0)
    assert not empty.files
    pairs = find_exact(storage, [empty], [0])
    assert {how: found.shape for how, found in pairs.items()} == {
        "source": (0, 2), "content": (0, 2),
    }  # fmt: skip
    result = find_duplicates(["empty"], near=False, store=storage.path("."))
    assert (result.samples, result.exact, result.conflicts) == (0, 0, ())
    make(storage, "full", [("a", draw_crop(1), 0), ("b", draw_crop(1), 0)])
    assert find_duplicates(["empty", "full"], near=False, store=storage.path(".")).exact == 1
