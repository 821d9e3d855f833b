"""The pack that is exported is what InsightFace's trainers read, and comes back as it was."""

import csv
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exports import ArcFacePack, labeled_rows, make_mixture, stored_image, tree
from support.recipes import build
from support.stores import make_dataset

import fusekit
from fusekit.errors import MixtureError
from fusekit.export.part import select_part
from fusekit.export.recordio import check_recordio, write_recordio
from fusekit.formats.recordio import read_index
from fusekit.formats.recordio_writer import write_pack
from fusekit.progress import silent
from fusekit.storage.folder import Storage
from fusekit.store.layout import open_store


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return make_mixture(tmp_path_factory.mktemp("recordio") / "store")


@pytest.fixture(scope="module")
def pack(storage, tmp_path_factory):
    out = tmp_path_factory.mktemp("recordio") / "pack"
    fusekit.export_mixture("m", out, "recordio", store=storage.root)
    return out


def test_arcface_torch_reads_the_images_bit_for_bit_with_the_mixtures_labels(storage, pack):
    rows = labeled_rows(storage)
    wanted = [(stored_image(storage, row), row["label"]) for row in rows]
    assert list(ArcFacePack(pack)) == wanted
    assert [image[:4] for image, _ in wanted].count(b"\x89PNG") == 4


def test_the_pack_is_the_one_that_insightfaces_builder_would_write(storage, pack, tmp_path):
    rows = labeled_rows(storage)
    write_pack(tmp_path, ((row["label"], stored_image(storage, row)) for row in rows), 4)
    for name in ("train.rec", "train.idx", "property"):
        assert (pack / name).read_bytes() == (tmp_path / name).read_bytes()
    assert sorted(tree(pack)) == [
        "export.json", "identities.csv", "names.txt", "property", "train.idx", "train.lst",
        "train.rec",
    ]  # fmt: skip


def test_key_0_and_the_identity_records_say_where_images_are(pack):
    read = ArcFacePack(pack)
    assert read_index(pack / "train.idx")[0].tolist() == [*range(1, 21), 0]
    assert read.unpack(0)[:2] == (2, (17.0, 21.0))
    assert [read.unpack(key)[1] for key in range(17, 21)] == [(1, 6), (6, 13), (13, 16), (16, 17)]
    assert [read.unpack(key)[2] for key in range(1, 17)] == list(range(1, 17))


def test_the_list_says_which_sample_a_key_is(storage, pack):
    rows = labeled_rows(storage)
    lines = [line.split("\t") for line in (pack / "train.lst").read_text().splitlines()]
    assert lines == [
        [str(key), str(row["label"]),
         f"{row['label']:07d}/{row['dataset']}-{row['key']}.{row['format']}"]
        for key, row in enumerate(rows, 1)
    ]  # fmt: skip


def test_the_list_names_the_files_of_the_folders_format(storage, pack, tmp_path):
    fusekit.export_mixture("m", tmp_path / "out", "folders", store=storage.root)
    read = ArcFacePack(pack)
    for line in (pack / "train.lst").read_text().splitlines():
        key, label, path = line.split("\t")
        assert ((tmp_path / "out" / path).read_bytes(), int(label)) == read[int(key) - 1]


def test_names_that_would_break_their_table_are_put_on_one_line(pack):
    assert (pack / "names.txt").read_text() == "0\tAnn A. Ñ\n"


def write(storage, out, name, exact):
    part = select_part(fusekit.Mixture.open("m", storage.root), name)
    write_recordio(part, Storage(out), silent, exact)
    return check_recordio(part, exact), ArcFacePack(out)


def test_above_the_limit_of_32_bit_floats_there_are_images_alone_and_keys_from_0(
    storage, pack, tmp_path
):
    # 16 images and 4 identities: key 0 would say [17, 21].
    remarks, read = write(storage, tmp_path / "fits", "labeled", 21)
    assert remarks == []
    assert tree(tmp_path / "fits")["train.rec"] == tree(pack)["train.rec"]
    remarks, read = write(storage, tmp_path / "over", "labeled", 20)
    assert remarks == [
        "16 images are too many for exact identity records: none are written, and keys begin at 0"
    ]
    assert list(read) == list(ArcFacePack(pack))
    assert read.keys == list(range(16))
    assert [read.unpack(key)[2] for key in read.keys] == read.keys


def test_more_classes_than_a_label_tells_apart_are_refused(storage):
    part = select_part(fusekit.Mixture.open("m", storage.root), "labeled")
    with pytest.raises(MixtureError, match=r"m: 4 classes; expected at most 3 in a pack; labels"):
        check_recordio(part, 3)


def test_an_unlabeled_pack_has_the_label_minus_1_and_images_alone(storage, tmp_path):
    result = fusekit.export_mixture(
        "m", tmp_path / "out", "recordio", part="unlabeled", store=storage.root
    )
    read = ArcFacePack(tmp_path / "out")
    assert [label for _, label in read] == [-1] * 9
    rows = pq.read_table(storage.path("mixtures/m/unlabeled.parquet")).to_pylist()
    assert [image for image, _ in read] == [stored_image(storage, row) for row in rows]
    assert "keys from 0 and no identity records" in result.remarks[0]
    assert sorted(tree(tmp_path / "out")) == [
        "export.json", "property", "train.idx", "train.lst", "train.rec"
    ]  # fmt: skip


people = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
    st.integers(1, 4),
    min_size=1,
    max_size=4,
)


@settings(max_examples=8)
@given(st.lists(people, min_size=1, max_size=2))
def test_store_to_pack_to_store_keeps_crops_labels_order_and_identities(datasets):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        storage = open_store(root / "store", create=True)
        for number, identities in enumerate(datasets):
            make_dataset(storage, f"d{number}", identities, unit_size=3, seed=number)
        build(storage, *(f"d{number}" for number in range(len(datasets))))
        fusekit.export_mixture("m", root / "pack", "recordio", store=storage.root)
        fusekit.ingest_dataset(
            "recordio", raw=root / "pack", store=root / "again", name="back", workers=0,
            unit_size=4,
        )  # fmt: skip
        again = Storage(root / "again")
        back = pq.read_table(again.path("datasets/back/samples-000000.parquet")).to_pylist()
        back.sort(key=lambda row: int(row["source"].partition("#")[2]))
        rows = labeled_rows(storage)
        assert [stored_image(again, row) for row in back] == [
            stored_image(storage, row) for row in rows
        ]
        assert [row["identity"] for row in back] == [str(row["label"]) for row in rows]
        with (root / "pack/identities.csv").open(newline="", encoding="utf-8") as file:
            people = {row["label"]: row for row in csv.DictReader(file)}
        assert [
            (people[row["identity"]]["dataset"], people[row["identity"]]["identity"])
            for row in back
        ] == [(row["dataset"], row["identity"]) for row in rows]
