"""What fusekit exports, fusekit ingests: the same crops under the same labels."""

import pyarrow.parquet as pq
import pytest
from support.exports import (
    labeled_rows,
    make_evaluation_set,
    make_mixture,
    read_pairs,
    stored_image,
)

import fusekit
from fusekit.storage.folder import Storage

CARD = """
name: back
title: A fusekit export
kind: labeled
terms: a test's own
forms: [{{reader: {reader}, aligned: true, options: {options}}}]
"""
# How each reader spells the identity of a row of the mixture.
IDENTITIES = {
    "folders": ("{}", lambda row: f"{row['label']:07d}"),
    "webdataset": ("{}", lambda row: str(row["label"])),
    "parquet": ("{}", lambda row: f"{row['dataset']}/{row['identity']}"),
    "lmdb": ("{}", lambda row: str(row["label"])),
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = make_mixture(tmp_path_factory.mktemp("trip") / "store")
    make_evaluation_set(storage)
    return storage


def rows_of(storage, name):
    table = pq.read_table(storage.path(f"datasets/{name}/samples-000000.parquet"))
    return table.to_pylist()


@pytest.mark.parametrize("fmt", IDENTITIES)
def test_an_export_comes_back_with_its_crops_and_labels(storage, tmp_path, fmt):
    options, identity = IDENTITIES[fmt]
    fusekit.export_mixture("m", tmp_path / "out", fmt, store=storage.root)
    card = tmp_path / "back.yaml"
    card.write_text(CARD.format(reader=fmt, options=options))
    fusekit.ingest_dataset(str(card), raw=tmp_path / "out", store=tmp_path / "again", workers=0)
    again = Storage(tmp_path / "again")
    found = sorted((row["identity"], stored_image(again, row)) for row in rows_of(again, "back"))
    assert found == sorted((identity(r), stored_image(storage, r)) for r in labeled_rows(storage))


def test_a_pack_of_pairs_comes_back_as_the_same_pairs(storage, tmp_path):
    fusekit.export_pairs("lfw", tmp_path / "raw/lfw.bin", store=storage.root)
    fusekit.ingest_dataset(
        "lfw", raw=tmp_path / "raw", store=tmp_path / "again", workers=0, form="bin"
    )
    images = {}
    for name, root in (("first", storage), ("again", Storage(tmp_path / "again"))):
        crops = {row["key"]: stored_image(root, row) for row in rows_of(root, "lfw")}
        images[name] = [
            (crops[p["key_a"]], crops[p["key_b"]], p["same"], p["fold"])
            for p in read_pairs(root, "lfw")
        ]
    assert images["again"] == images["first"]
