import json
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.containers import write_tar
from support.forms_containers import own_shards
from support.raw import draw_jpeg, write_files, write_pictures

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.errors import FusekitError, ItemError, SourceError
from fusekit.readers.item import Item
from fusekit.readers.registry import open_reader

SHARD = "x-000000.tar"


def opened(raw, kind="labeled", **options):
    form = CardForm(reader="webdataset", options=options)
    return open_reader(Card(name="shards", kind=kind, forms=(form,)), raw)


def listed(reader):
    items = list(reader.items())
    assert all(len(reader.read(item)) == item.size for item in items if item.reject is None)
    assert len({item.source for item in items}) == len(items)
    return items


def people(items):
    return {item.source.partition("#")[2]: item.identity for item in items}


def samples(path, *members):
    return write_tar(
        path, [(name, data.encode() if isinstance(data, str) else data) for name, data in members]
    )


def test_a_sample_is_its_picture_s_bytes_in_the_tar(tmp_path):
    samples(tmp_path / SHARD, ("a/1.jpg", draw_jpeg(1)), ("a/1.cls", "5"))
    reader = opened(tmp_path)
    assert list(reader.items()) == [Item(f"{SHARD}#a/1", len(draw_jpeg(1)), "5", offset=512)]
    assert [reader.read(item) for item in reader.items()] == [draw_jpeg(1)]
    assert reader.numeric_identities
    assert reader.ignored() == {}


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_of_every_tool_are_read(tmp_path, fmt):
    name = "deep/" * 30 + "é"
    if fmt == tarfile.USTAR_FORMAT:
        name = "deep/" * 20 + "e"
    write_tar(tmp_path / SHARD, [(f"./{name}.jpg", b"jpeg"), (f"./{name}.cls", b"1")], fmt)
    (item,) = listed(opened(tmp_path / SHARD))
    assert item.source == f"{SHARD}#{name}"


def test_the_person_is_the_cls_else_a_field_of_the_json(tmp_path):
    samples(
        tmp_path / SHARD,
        ("1.jpg", "x"), ("1.json", json.dumps({"label": 4, "id": 9})), ("1.cls", "007\n"),
        ("2.jpg", "x"), ("2.json", json.dumps({"label": 4, "id": 9, "name": "Anne"})),
        ("3.jpg", "x"), ("3.json", json.dumps({"id": "b", "split": "dev", "url": "http://a/b"})),
    )  # fmt: skip
    reader = opened(tmp_path)
    items = listed(reader)
    assert people(items) == {"1": "007", "2": "4", "3": "b"}
    assert (items[2].split, items[2].url) == ("val", "http://a/b")
    assert reader.names() == {"4": "Anne"}
    assert not reader.numeric_identities
    named = opened(tmp_path, identity="id")
    assert people(listed(named)) == {"1": "9", "2": "9", "3": "b"}


def test_an_option_names_the_member_that_says_who_it_is(tmp_path):
    samples(tmp_path / SHARD, ("1.jpg", "x"), ("1.cls", "4"), ("1.txt", "Anne "))
    assert people(listed(opened(tmp_path, identity="txt"))) == {"1": "Anne"}


def test_a_labeled_sample_of_nobody_is_rejected(tmp_path):
    samples(
        tmp_path / SHARD,
        ("1.jpg", "x"),
        ("1.cls", "4"),
        ("2.jpg", "x"),
        ("3.jpg", "x"),
        ("3.json", "[1"),
    )
    reader = opened(tmp_path)
    assert [item.reject for item in listed(reader)] == [None, "unlisted", "unlisted"]
    assert reader.ignored() == {"members .json that can't be read": 1}


def test_shards_that_name_nobody_are_an_error_in_labeled_data(tmp_path):
    samples(tmp_path / SHARD, ("1.jpg", "x"))
    with pytest.raises(
        SourceError, match=r"nothing says whom the pictures show; expected a member .cls"
    ):
        listed(opened(tmp_path))
    assert people(listed(opened(tmp_path, "unlabeled"))) == {"1": None}
    assert people(listed(opened(tmp_path, "evaluation"))) == {"1": None}


def test_a_sample_without_a_picture_is_missing_one(tmp_path):
    samples(tmp_path / SHARD, ("1.jpg", "x"), ("2.txt", "a"), ("2.json", "{}"))
    item = listed(opened(tmp_path, "unlabeled"))[1]
    assert (item.reject, item.reject_detail) == (
        "missing",
        "the sample has .txt, .json but no image",
    )


def test_two_images_under_one_key_are_both_rejected(tmp_path):
    samples(tmp_path / SHARD, ("m.0107_f.jpg", "x"), ("m.02_g.jpg", "y"), ("n.jpg", "z"))
    items = listed(opened(tmp_path, "unlabeled"))
    assert [item.reject for item in items] == ["unreadable", "unreadable", None]
    assert items[0].source == f"{SHARD}#m.0107_f.jpg"
    assert items[0].reject_detail == "2 images share the key 'm', which ends at the first dot"


def test_more_members_than_a_sample_has_are_rejected_in_parts(tmp_path):
    samples(tmp_path / SHARD, *((f"m.{n}.jpg", "x") for n in range(150)), ("n.jpg", "x"))
    items = listed(opened(tmp_path, "unlabeled"))
    assert [item.reject for item in items] == ["unreadable"] * 150 + [None]
    assert "more than 64 members share the key 'm'" in str(items[149].reject_detail)


def test_a_plain_suffix_comes_before_a_compound_one(tmp_path):
    samples(tmp_path / SHARD, ("1.mask.png", "mask"), ("1.jpg", "photo"))
    reader = opened(tmp_path, "unlabeled")
    assert [reader.read(item) for item in listed(reader)] == [b"photo"]
    masks = opened(tmp_path, "unlabeled", image="MASK.png")
    assert [masks.read(item) for item in listed(masks)] == [b"mask"]


def test_a_repeated_suffix_rejects_the_sample(tmp_path):
    samples(tmp_path / SHARD, ("1.jpg", "x"), ("1.cls", "4"), ("1.cls", "5"))
    (item,) = listed(opened(tmp_path, "unlabeled"))
    assert (item.reject, item.reject_detail) == ("unreadable", "two members of '1' end in .cls")


def test_a_key_that_comes_again_is_named_by_its_place(tmp_path):
    one = (("1.jpg", "x"), ("1.cls", "4"))
    samples(tmp_path / SHARD, *one, ("2.jpg", "y"), ("2.cls", "4"), *one)
    reader = opened(tmp_path)
    assert list(people(listed(reader))) == ["1", "2", "1@4608"]
    assert reader.ignored() == {"keys that come again in their shard (named by their place)": 1}


def test_members_of_no_sample_are_counted(tmp_path):
    samples(
        tmp_path / SHARD,
        ("1.jpg", "x"), ("__meta__/a.json", "{}"), ("._1.jpg", "x"), ("noname", "x"),
        ("/2.jpg", "x"), ("../3.jpg", "x"), ("a/.DS_Store", "x"),
    )  # fmt: skip
    write_files(tmp_path, {"index.idx": "x", "notes.txt": "x"})
    reader = opened(tmp_path, "unlabeled")
    assert people(listed(reader)) == {"1": None}
    assert reader.ignored() == {
        "members named __…__": 1, "desktop files": 2, "members without a key and a suffix": 1,
        "members that lead out of their shard": 2, "files of another kind": 1,
        "lists and metadata (by suffix)": 1,
    }  # fmt: skip


def test_links_and_names_that_are_no_utf8_are_counted(tmp_path):
    with tarfile.open(tmp_path / SHARD, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind in (
            ("1.jpg", tarfile.REGTYPE), ("2.jpg", tarfile.SYMTYPE), ("a", tarfile.DIRTYPE),
            ("b\udcff.jpg", tarfile.REGTYPE), ("3.jpg", tarfile.CHRTYPE),
        ):  # fmt: skip
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "1.jpg"
            tar.addfile(about)
    reader = opened(tmp_path, "unlabeled")
    assert len(listed(reader)) == 1
    assert reader.ignored() == {
        "links": 1, "names that are no UTF-8": 1, "members that are no files, or are erased": 1,
    }  # fmt: skip


def test_shards_of_our_own_are_told_by_their_records(tmp_path):
    reader = open_reader(load_card("webdataset"), own_shards(tmp_path))
    assert (reader.form, reader.form_spec.aligned) == ("fusekit", True)
    items = listed(reader)
    assert items[0].identity == "n000002"
    assert items[0].bbox == (100.0, 100.0, 250.5, 300.0)
    # Their boxes are in pixels of the picture that a crop is from: no help to find it again.
    assert listed(opened(tmp_path))[0].bbox is None


def test_a_shard_that_is_cut_off_is_an_error(tmp_path):
    path = samples(tmp_path / SHARD, ("1.jpg", b"x" * 5_000), ("1.cls", "4"))
    path.write_bytes(path.read_bytes()[:3_000])
    with pytest.raises(SourceError, match=r"x-000000.tar: ends early, near byte"):
        listed(opened(tmp_path))


def test_a_shard_that_shrinks_gives_rejects_and_one_that_vanishes_an_error(tmp_path):
    path = samples(tmp_path / SHARD, ("1.jpg", b"x" * 5_000))
    reader = opened(tmp_path, "unlabeled")
    (item,) = reader.items()
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ItemError, match="its container ends 88 of 5000 bytes into it"):
        reader.read(item)
    path.unlink()
    with pytest.raises(SourceError, match="is not there any more"):
        reader.read(item)


def test_a_source_that_leads_out_of_the_raw_folder_is_not_read(tmp_path):
    samples(tmp_path / "raw" / SHARD, ("1.jpg", "x"))
    samples(tmp_path / SHARD, ("1.jpg", "x"))
    with pytest.raises(ItemError, match="leads out of the raw folder"):
        opened(tmp_path / "raw").read(Item(f"../{SHARD}#1", 1, None, offset=512))


def test_a_shard_with_the_mark_of_items_in_its_name_is_refused(tmp_path):
    samples(tmp_path / "a#b.tar", ("1.jpg", "x"))
    with pytest.raises(SourceError, match="has '#' in its path; rename it"):
        listed(opened(tmp_path, "unlabeled"))


def test_a_folder_without_shards_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="holds no pictures; expected shards"):
        listed(opened(tmp_path))


@pytest.mark.parametrize(
    ("build", "form"),
    [
        (lambda raw: write_pictures(raw, "a.jpg", "b/c.jpg"), "unlabeled"),
        (lambda raw: samples(raw / "x-000000.tar", ("1.jpg", "x"), ("2.jpg", "x")), "webdataset"),
        (lambda raw: samples(raw / "x.tar", ("1.jpg", "x"), ("1.json", "{}")), "webdataset"),
        (lambda raw: samples(raw / "x.tar", ("1.jpg", "x"), ("2.jpg", "x")), "unlabeled"),
        (lambda raw: samples(raw / "x-000.tar", ("1.5.jpg", "x"), ("1.6.jpg", "x")), "unlabeled"),
        (
            lambda raw: samples(write_pictures(raw, "a.jpg") / "x-000.tar", ("1.jpg", "x")),
            "unlabeled",
        ),
    ],
)  # fmt: skip
def test_shards_are_told_from_folders_and_archives_of_pictures(tmp_path, build, form):
    build(tmp_path)
    assert open_reader(load_card("unlabeled"), tmp_path).form == form


def test_brackets_without_end_are_no_record(tmp_path):
    samples(
        tmp_path / SHARD,
        ("1.jpg", "x"), ("1.json", "[" * 100_000), ("2.jpg", "x"), ("2.json", '{"id": "\\ud800"}'),
        ("3.jpg", "x"), ("3.json", '{"bbox": [1e999, 2, 3, 4]}'),
    )  # fmt: skip
    items = listed(opened(tmp_path, "evaluation"))
    assert [(item.identity, item.bbox) for item in items] == [(None, None)] * 3


@given(st.data())
def test_damaged_shards_give_our_errors_only(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shards")
    path = samples(
        folder / SHARD, ("1.jpg", "x"), ("1.json", '{"label": 3}'), ("é" * 80 + ".jpg", "y")
    )
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, 4_000))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    with suppress(FusekitError):
        listed(opened(folder))
