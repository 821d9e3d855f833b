"""Embeddings: row-aligned with the manifest, read in blocks, never stale in silence."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.people import MODEL, embed_as, make_people
from support.stores import make_dataset

from fusekit.errors import StorageError, StoreError
from fusekit.schema import MANIFEST_SCHEMA, embeddings_schema
from fusekit.store import embeddings as module
from fusekit.store import layout
from fusekit.store.commit import UnitRecord, read_record
from fusekit.store.embeddings import (
    EmbeddingModel,
    EmbeddingSet,
    embedding_models,
    standing_part,
    write_part,
)
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table

OTHER = EmbeddingModel("other", "cd" * 32)


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def draw(count, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32) * 3


def test_a_part_has_the_manifests_rows_unit_vectors_and_lengths(storage):
    outputs = draw(40)
    info = make_people(storage, "crawl", outputs, unit_size=16)
    keys = []
    for unit in range(info.units):
        part = pq.read_table(storage.path(layout.embeddings("crawl", MODEL.folder, unit)))
        assert part.schema.remove_metadata().equals(embeddings_schema(8))
        manifest = read_table(storage, layout.manifest_part("crawl", unit), MANIFEST_SCHEMA)
        assert part.column("key").equals(manifest.column("key"))
        items = [int(s[-9:-4]) for s in manifest.column("source").to_pylist()]
        vectors = np.array(part.column("embedding").to_pylist(), np.float64)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
        norms = part.column("norm").to_numpy()
        np.testing.assert_allclose(norms, np.linalg.norm(outputs[items], axis=1), rtol=1e-5)
        np.testing.assert_allclose(vectors * norms[:, None], outputs[items], atol=2e-2)
        keys += part.column("key").to_pylist()
    assert len(set(keys)) == info.samples == 40


def test_blocks_give_every_row_in_order_and_never_cross_units(storage, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ROWS", 5)
    people = {"ann": draw(20), "bob": draw(17, seed=1)}
    info = make_people(storage, "a", people, unit_size=16)
    blocks = list(EmbeddingSet.open(storage, info).blocks())
    assert [len(b.vectors) for b in blocks] == [5, 5, 5, 1, 5, 5, 5, 1, 5]
    assert [b.first_row for b in blocks] == np.cumsum([0, 5, 5, 5, 1, 5, 5, 5, 1]).tolist()
    manifest = pa.concat_tables(
        read_table(storage, layout.manifest_part("a", u), MANIFEST_SCHEMA) for u in range(3)
    )
    assert [k.as_py() for b in blocks for k in b.keys] == manifest.column("key").to_pylist()
    index = np.concatenate([b.identity_index for b in blocks])
    assert index.tolist() == manifest.column("identity_index").to_pylist()
    assert index.dtype == np.int32


def test_rows_taken_by_number_are_those_of_the_blocks(storage, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ROWS", 7)
    info = make_people(storage, "crawl", draw(50), unit_size=16)
    embeddings = EmbeddingSet.open(storage, info)
    whole = np.concatenate([b.vectors for b in embeddings.blocks()])
    rows = np.array([0, 3, 15, 16, 17, 40, 49])
    np.testing.assert_array_equal(embeddings.take(rows), whole[rows])
    assert embeddings.take(np.array([], np.int64)).shape == (0, 8)
    assert (embeddings.rows, embeddings.dim) == (50, 8)


def test_an_erased_sample_has_an_embedding_of_zeros(storage):
    outputs = draw(10)
    outputs[4] = 0
    info = make_people(storage, "crawl", outputs)
    embeddings = EmbeddingSet.open(storage, info)
    vectors = next(embeddings.blocks()).vectors
    assert (~vectors.any(axis=1)).sum() == 1


def test_an_empty_dataset_has_no_embeddings_and_no_error(storage):
    info = make_people(storage, "crawl", np.zeros((0, 8), np.float32))
    assert list(EmbeddingSet.open(storage, info, MODEL).blocks()) == []


def test_without_embeddings_the_next_step_is_named(storage):
    info = make_dataset(storage, "crawl", 5)
    with pytest.raises(StoreError, match=r"^crawl: has no embeddings; fusekit embed crawl$"):
        EmbeddingSet.open(storage, info)


def test_embeddings_of_several_models_are_ambiguous_until_one_is_named(storage):
    info = make_people(storage, "crawl", draw(5))
    embed_as(storage, info, draw(5, 4), OTHER)
    with pytest.raises(
        StoreError,
        match=r"crawl: has embeddings of 2 models: drawn-abababab, other-cdcdcdcd; "
        r"expected one; choose with --model",
    ):
        EmbeddingSet.open(storage, info)
    assert EmbeddingSet.open(storage, info, OTHER).dim == 4
    assert embedding_models(storage, "crawl") == [MODEL, OTHER]


def test_a_missing_unit_is_named_with_the_next_step(storage):
    info = make_people(storage, "crawl", draw(40), unit_size=16)
    storage.remove(layout.embeddings("crawl", MODEL.folder, 1))
    with pytest.raises(
        StoreError,
        match=r"crawl: lacks embeddings of unit 1 by drawn; fusekit embed crawl --model drawn",
    ):
        EmbeddingSet.open(storage, info)


def test_embeddings_of_other_crops_are_stale(storage):
    info = make_people(storage, "crawl", draw(40), unit_size=16)
    part = storage.read(layout.embeddings("crawl", MODEL.folder, 0))
    storage.write(layout.embeddings("crawl", MODEL.folder, 1), part)
    with pytest.raises(StoreError, match=r"has stale or damaged embeddings of unit 1 by drawn"):
        EmbeddingSet.open(storage, info)


@pytest.mark.parametrize("change", ["name", "sha256", "contract"])
def test_embeddings_by_another_model_or_contract_do_not_stand(storage, change):
    make_people(storage, "crawl", draw(5))
    record = read_record(storage, "crawl", 0)
    assert standing_part(storage, "crawl", record, MODEL) == 8
    fields = {"name": MODEL.name, "sha256": MODEL.sha256, "contract": ""}
    fields[change] = MODEL.sha256[:8] + "0" * 56 if change == "sha256" else "Drawn"
    other = EmbeddingModel(**fields)
    assert standing_part(storage, "crawl", record, other) is None
    if other.folder == MODEL.folder:
        with pytest.raises(StoreError, match="stale or damaged"):
            EmbeddingSet.open(storage, make_dataset_info(storage), other)


def make_dataset_info(storage):
    from fusekit.store.datasets import open_dataset

    return open_dataset(storage, "crawl")


def test_a_damaged_part_does_not_stand(storage):
    info = make_people(storage, "crawl", draw(5))
    name = layout.embeddings("crawl", MODEL.folder, 0)
    storage.write(name, storage.read(name)[:-20])
    assert standing_part(storage, "crawl", read_record(storage, "crawl", 0), MODEL) is None
    with pytest.raises(StoreError, match=r"stale or damaged embeddings of unit 0"):
        EmbeddingSet.open(storage, info, MODEL)


def test_damage_found_while_reading_is_one_line_with_the_next_step(storage):
    info = make_people(storage, "crawl", draw(400, 64))
    embeddings = EmbeddingSet.open(storage, info)
    path = storage.path(layout.embeddings("crawl", MODEL.folder, 0))
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"part-000000.parquet: is damaged .*fusekit embed cra"):
        list(embeddings.blocks())


def test_counts_that_differ_are_refused(storage):
    info = make_people(storage, "crawl", draw(5))
    table = read_table(storage, layout.manifest_part("crawl", 0), MANIFEST_SCHEMA)
    record = UnitRecord(unit=0, items=5, kept=5, rejected=0, samples=info.samples)
    with pytest.raises(StoreError, match=r"4 embeddings of 5 rows; expected 5"):
        write_part(storage, "crawl", record, MODEL, table, draw(4))


def test_a_models_name_is_made_fit_for_a_folder():
    model = EmbeddingModel("insightface/buffalo_l é", "12" * 32)
    assert model.folder == "insightface-buffalo_l--12121212"
