"""The webdataset library reads shards, without fusekit."""

import importlib
import json
import tarfile

import pyarrow.parquet as pq
import pytest
from support.stores import make_dataset

from fusekit.store.layout import open_store

SUFFIXES = {"jpg": "jpg", "png": "png", "raw": "npy"}


@pytest.fixture(scope="module", params=sorted(SUFFIXES))
def root(request, tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("wds") / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 5, "bob": 7}, unit_size=5, fmt=request.param)
    return storage.root


@pytest.mark.filterwarnings("ignore")
def test_webdataset_groups_image_and_json_by_key(root):
    webdataset = importlib.import_module("webdataset")
    rows = {
        row["key"]: row
        for row in pq.read_table(next(root.glob("datasets/vgg/samples-*"))).to_pylist()
    }
    shards = sorted(map(str, root.glob("datasets/vgg/shards/*.tar")))
    found = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert [sample["__key__"] for sample in found] == list(rows)
    for sample in found:
        row = rows[sample["__key__"]]
        assert len(sample[SUFFIXES[row["format"]]]) == row["length"]
        about = json.loads(sample["json"])
        # The manifest holds 32-bit floats, JSON the decimal numbers that they came from.
        assert about.pop("det_score") == pytest.approx(row["det_score"])
        assert about == {name: row[name] for name in about}


def test_tar_reads_a_shard(root):
    for shard in root.glob("datasets/vgg/shards/*.tar"):
        with tarfile.open(shard) as tar:
            names = tar.getnames()
        stems = [name.partition(".")[0] for name in names]
        assert stems[::2] == stems[1::2]
        assert {name.partition(".")[2] for name in names[1::2]} == {"json"}
