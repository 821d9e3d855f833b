"""Others' libraries read what fusekit writes, without fusekit."""

import importlib
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import duckdb
import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import simplejpeg
from support.recipes import build
from support.stores import draw_crop, make_dataset

from fusekit.schema import MANIFEST_SCHEMA, MIXTURE_ROWS_SCHEMA
from fusekit.store.layout import open_store

TABLES = {
    "manifest": ("datasets/vgg/manifest/*.parquet", 12),
    "samples": ("datasets/vgg/samples-*.parquet", 12),
    "labeled": ("mixtures/m/labeled.parquet", 16),
    "unlabeled": ("mixtures/m/unlabeled.parquet", 9),
    "classes": ("mixtures/m/classes.parquet", 4),
    "members": ("mixtures/m/members.parquet", 4),
    "shards": ("mixtures/m/shards.parquet", 5),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("interop") / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 5, "bob": 7}, unit_size=5)
    make_dataset(storage, "rec", {"0": 3, "1": 1})
    make_dataset(storage, "crawl", 9)
    build(storage, "vgg", "rec", unlabeled=["crawl"])
    return storage.root


@pytest.mark.parametrize("table", TABLES)
def test_pyarrow_reads_a_table(root, table):
    pattern, rows = TABLES[table]
    files = sorted(map(str, root.glob(pattern)))
    assert pads.dataset(files, format="parquet").to_table().num_rows == rows
    schema = {"manifest": MANIFEST_SCHEMA, "labeled": MIXTURE_ROWS_SCHEMA}.get(table)
    if schema is not None:
        assert pq.read_schema(files[0]).remove_metadata() == schema


@pytest.mark.parametrize("table", TABLES)
def test_duckdb_reads_a_table(root, table):
    pattern, rows = TABLES[table]
    found = duckdb.sql(f"SELECT count(*) FROM read_parquet('{root / pattern}')").fetchall()
    assert found == [(rows,)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("table", TABLES)
def test_hugging_face_datasets_reads_a_table(root, table, tmp_path):
    datasets = importlib.import_module("datasets")
    datasets.disable_progress_bars()
    pattern, rows = TABLES[table]
    found = datasets.load_dataset(
        "parquet", data_files=str(root / pattern), split="train", cache_dir=str(tmp_path)
    )
    assert found.num_rows == rows
    if table == "labeled":
        plain = pq.read_table(root / pattern).to_pylist()
        assert found[3]["key"] == plain[3]["key"]
        assert found[3]["bbox"] == plain[3]["bbox"]
        assert sorted(found["label"]) == sorted(row["label"] for row in plain)


def test_a_row_of_a_manifest_is_one_read_of_a_plain_tar(root):
    for row in pq.read_table(next(root.glob("datasets/vgg/samples-*"))).to_pylist():
        data = (root / "datasets/vgg/shards" / row["shard"]).read_bytes()
        image = simplejpeg.decode_jpeg(data[row["offset"] : row["offset"] + row["length"]])
        drawn = draw_crop(int(row["source"][-9:-4]))
        assert np.abs(image.astype(int) - drawn).mean() < 4
