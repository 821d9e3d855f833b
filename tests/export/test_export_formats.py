"""Others' libraries read each format as they read their own, without fusekit."""

import importlib
import json
import os
import tarfile
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.exports import decode, labeled_rows, make_mixture, stored_image, tree

import fusekit
from fusekit.errors import StorageError
from fusekit.export import lmdb as lmdb_export
from fusekit.export import parquet, webdataset
from fusekit.store import layout


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return make_mixture(tmp_path_factory.mktemp("formats") / "store")


@pytest.fixture
def export(storage, tmp_path):
    def run(fmt, **more):
        fusekit.export_mixture("m", tmp_path / "out", fmt, store=storage.root, **more)
        return tmp_path / "out"

    return run


@pytest.fixture(scope="module")
def wanted(storage):
    """Dataset, key, label and image of each labeled row, by label."""
    return [
        (row["dataset"], row["key"], row["label"], stored_image(storage, row))
        for row in labeled_rows(storage)
    ]


def test_folders_sorted_as_text_give_the_mixtures_labels(export, wanted):
    out = export("folders")
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert folders == ["0000000", "0000001", "0000002", "0000003"]
    found = {
        (*path.stem.split("-", 1), folders.index(path.parent.name), path.read_bytes())
        for path in out.rglob("0*/*")
    }
    assert found == set(wanted)


def test_unlabeled_folders_are_a_dataset_each_and_spread_by_key(storage, export):
    rows = pq.read_table(storage.path("mixtures/m/unlabeled.parquet")).to_pylist()
    files = tree(export("folders", part="unlabeled"))
    del files["export.json"]
    assert files == {
        f"crawl/{row['key'][:2]}/crawl-{row['key']}.jpg": stored_image(storage, row) for row in rows
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("by", ["builder", "folder"])
def test_hugging_face_datasets_opens_parquet_as_images_and_classes(export, wanted, tmp_path, by):
    datasets = importlib.import_module("datasets")
    datasets.disable_progress_bars()
    out, cache = str(export("parquet")), str(tmp_path / "cache")
    if by == "builder":
        found = datasets.load_dataset("parquet", data_dir=out, split="train", cache_dir=cache)
    else:
        found = datasets.load_dataset(out, split="train", cache_dir=cache)
    assert isinstance(found.features["image"], datasets.Image)
    assert found.features["label"].names == ["vgg/ann", "vgg/bob/..", "rec/0", "rec/ann"]
    assert found.column_names == ["image", "label", "dataset", "identity", "key"]
    assert [(r["dataset"], r["key"], r["label"]) for r in found] == [w[:3] for w in wanted]
    assert [r["identity"] for r in found] == ["ann"] * 5 + ["bob/.."] * 7 + ["0"] * 3 + ["ann"]
    pixels = np.array(found[3]["image"])
    assert np.abs(pixels.astype(int) - decode(wanted[3][3])).mean() < 1
    assert found[15]["image"].format == "PNG"


def test_parquet_holds_the_images_bit_for_bit_in_small_row_groups(export, wanted, monkeypatch):
    monkeypatch.setattr(parquet, "_FILE_BYTES", sum(len(w[3]) for w in wanted[:6]))
    monkeypatch.setattr(parquet, "_ROW_GROUP", 4)
    files = sorted(export("parquet").glob("*.parquet"))
    assert [f.name for f in files] == [
        f"train-{n:05d}-of-{len(files):05d}.parquet" for n in range(len(files))
    ]
    first = pq.ParquetFile(files[0])
    groups = [first.metadata.row_group(n).num_rows for n in range(first.num_row_groups)]
    assert groups == [4, 2]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert [row["image"]["bytes"] for row in rows] == [w[3] for w in wanted]
    assert rows[0]["image"]["path"] == f"vgg-{wanted[0][1]}.jpg"


def test_many_classes_are_plain_numbers(export, monkeypatch):
    monkeypatch.setattr(parquet, "_MOST_NAMED_CLASSES", 3)
    schema = pq.read_schema(export("parquet") / "train-00000-of-00001.parquet")
    about = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert about["label"] == {"dtype": "int64", "_type": "Value"}


def test_unlabeled_parquet_has_neither_label_nor_identity(export):
    schema = pq.read_schema(export("parquet", part="unlabeled") / "train-00000-of-00001.parquet")
    assert schema.names == ["image", "dataset", "key"]
    about = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(about) == schema.names


def test_an_lmdb_is_read_as_its_trainers_read_it(export, wanted):
    lmdb = importlib.import_module("lmdb")
    msgpack = importlib.import_module("msgpack")
    out = export("lmdb")
    assert sorted(tree(out)) == ["export.json", "identities.csv", "train.lmdb"]
    with lmdb.open(str(out / "train.lmdb"), subdir=False, readonly=True, lock=False) as file:
        read = file.begin()
        keys = msgpack.loads(read.get(b"__keys__"))
        assert msgpack.loads(read.get(b"__len__")) == len(keys) == 16
        assert msgpack.loads(read.get(b"__classnum__")) == 4
        found = [msgpack.loads(read.get(key)) for key in keys]
        assert file.stat()["entries"] == 16 + 3
    assert keys == [b"%d" % n for n in range(16)]
    assert found == [[image, label] for _, _, label, image in wanted]


def test_the_bound_on_an_lmdbs_size_holds_when_images_waste_their_pages(monkeypatch, tmp_path):
    lmdb = importlib.import_module("lmdb")
    images = [bytes([n % 251]) * size for n in range(3000) for size in (2040, 4081)]
    part = SimpleNamespace(
        sizes=np.array([len(i) for i in images], np.int32), rows=range(len(images)),
        num_classes=3,
        crops=lambda report: (SimpleNamespace(image=i, label=n % 3) for n, i in enumerate(images)),
    )  # fmt: skip
    monkeypatch.setattr(lmdb_export, "_COMMIT", 500)
    lmdb_export.write_lmdb(part, SimpleNamespace(path=lambda name: tmp_path / name), print)
    with lmdb.open(str(tmp_path / "train.lmdb"), subdir=False, readonly=True, lock=False) as file:
        assert file.stat()["entries"] == 6003
    # The size that is asked for, less what is fixed, leaves room even here.
    assert (tmp_path / "train.lmdb").stat().st_size < lmdb_export._map_size(part) - (64 << 20)


@pytest.mark.parametrize(
    ("error", "message"),
    [("DiskError", "train.lmdb: the disk is full; free some space"),
     ("MapFullError", r"train.lmdb: can't be written \(no\)")],
)  # fmt: skip
def test_an_lmdb_that_cannot_be_written_is_one_line(export, monkeypatch, error, message):
    lmdb = importlib.import_module("lmdb")

    def refuse(*args, **options):
        raise getattr(lmdb, error)("no")

    monkeypatch.setattr(lmdb, "open", refuse)
    with pytest.raises(StorageError, match=message):
        export("lmdb")


@pytest.mark.filterwarnings("ignore")
def test_webdataset_gives_image_class_and_description(export, storage, wanted, monkeypatch):
    library = importlib.import_module("webdataset")
    monkeypatch.setattr(webdataset, "_SHARD_BYTES", 24_000)
    shards = sorted(map(str, export("webdataset").glob("train-*.tar")))
    assert len(shards) > 1
    found = list(library.WebDataset(shards, shardshuffle=False))
    by_name = {
        f"{dataset}-{key}": (dataset, key, label, image) for dataset, key, label, image in wanted
    }
    assert sorted(sample["__key__"] for sample in found) == sorted(by_name)
    rows = {(row["dataset"], row["key"]): row for row in labeled_rows(storage)}
    for sample in found:
        dataset, key, label, image = by_name[sample["__key__"]]
        row = rows[dataset, key]
        assert (sample.get("jpg") or sample["png"], int(sample["cls"])) == (image, label)
        assert json.loads(sample["json"]) == {
            "key": key, "dataset": dataset, "dataset_index": row["dataset_index"],
            "source_index": row["source_index"], "identity": row["identity"], "label": label,
        }  # fmt: skip
    order = [by_name[sample["__key__"]][2] for sample in found]
    assert order != sorted(order)  # mixed: its readers shuffle in a window only


@pytest.mark.filterwarnings("ignore")
def test_webdataset_decodes_what_was_written(export):
    library = importlib.import_module("webdataset")
    shards = sorted(map(str, export("webdataset").glob("train-*.tar")))
    data = library.WebDataset(shards, shardshuffle=False).decode("rgb8").to_tuple("jpg;png", "cls")
    for pixels, label in data:
        assert pixels.shape == (112, 112, 3)
        assert 0 <= label < 4


def test_unlabeled_webdataset_has_no_classes(export):
    with tarfile.open(next(export("webdataset", part="unlabeled").glob("*.tar"))) as tar:
        suffixes = [name.partition(".")[2] for name in tar.getnames()]
    assert suffixes == ["jpg", "json"] * 9


def test_a_longest_dataset_name_still_names_members_and_files(tmp_path):
    from support.recipes import build
    from support.stores import make_dataset

    storage = layout.open_store(tmp_path / "store", create=True)
    make_dataset(storage, "n" * 64, {"ann": 2})
    build(storage, "n" * 64)
    for fmt in ("webdataset", "folders"):
        fusekit.export_mixture("m", tmp_path / fmt, fmt, store=storage.root)
