"""Embedding a dataset: resumable, the same bytes anywhere, and never a sample lost."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from support.onnx_models import constant_model, mean_colour_embedder
from support.stores import draw_crop, make_dataset

from fusekit.cards.card import CROP_SIZES
from fusekit.curate.embed import embed_dataset, embed_with, embedding_model, read_crops
from fusekit.errors import ModelError, StoreError, WorkError
from fusekit.faces.rewarp import Rewarp
from fusekit.models.registry import resolve_model
from fusekit.progress import silent
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import UnitWriter, read_record
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table, write_table


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(mean_colour_embedder(tmp_path_factory.mktemp("model") / "colour.onnx"))


def parts(storage, dataset="a"):
    folder = storage.path(f"datasets/{dataset}/embeddings")
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_every_sample_gets_the_embedding_of_its_own_crop(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", {"ann": 20, "bob": 13})
    result = embed_dataset("a", model=model, store=store, workers=0)
    assert result.as_json() | {"seconds": 0} == {
        "dataset": "a", "model": "colour", "samples": 33, "dim": 3, "seconds": 0,
    }  # fmt: skip
    embeddings = EmbeddingSet.open(storage, open_dataset(storage, "a"))
    vectors = np.concatenate([b.vectors for b in embeddings.blocks()])
    keys = [k.as_py() for b in embeddings.blocks() for k in b.keys]
    units = [read_crops(storage, "a", "arcface-112", unit) for unit in range(3)]
    crops = dict(crop for unit in units for crop in unit)
    assert list(crops) == keys
    for key, vector in zip(keys, vectors, strict=True):
        colour = (crops[key].reshape(-1, 3).mean(axis=0) - 127.5) / 127.5
        np.testing.assert_allclose(vector, colour / np.linalg.norm(colour), atol=2e-3)


@pytest.mark.parametrize("template", ["sphereface-96x112", "dlib-150", "ffhq-1024"])
def test_crops_of_other_templates_are_brought_to_the_arcface_crop_first(store, model, template):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 4, template=template)
    assert embed_dataset("a", model=model, store=store, workers=0).samples == 4
    (block,) = EmbeddingSet.open(storage, open_dataset(storage, "a")).blocks()
    crops = [crop for _, crop in read_crops(storage, "a", template, 0)]
    for crop, vector in zip(crops, block.vectors, strict=True):
        assert crop.shape[1::-1] == CROP_SIZES[template]
        colour = (Rewarp.of(template)(crop).reshape(-1, 3).mean(axis=0) - 127.5) / 127.5
        np.testing.assert_allclose(vector, colour / np.linalg.norm(colour), atol=2e-3)


@pytest.mark.parametrize("fmt", ["jpg", "png", "raw"])
def test_every_crop_format_is_read(store, model, fmt):
    storage = open_store(store, create=True)
    drawn = [draw_crop(i) for i in range(5)]
    if fmt == "raw":
        images = []
        for crop in drawn:
            file = io.BytesIO()
            np.save(file, crop)
            images.append(file.getvalue())
    else:
        images = [cv2.imencode(f".{fmt}", c[..., ::-1])[1].tobytes() for c in drawn]
    make_dataset(storage, "a", 5, fmt=fmt, images=images)
    assert embed_dataset("a", model=model, store=store, workers=0).samples == 5
    for (_, crop), row in zip(
        read_crops(storage, "a", "arcface-112", 0),
        read_table(storage, layout.manifest_part("a", 0), MANIFEST_SCHEMA).to_pylist(),
        strict=True,
    ):
        close = np.abs(crop.astype(int) - drawn[int(row["source"][-9:-4])]).mean()
        assert close < 20 if fmt == "jpg" else close == 0


def test_any_number_of_workers_gives_the_same_bytes(tmp_path, model):
    digests = []
    for workers in (0, 3):
        storage = open_store(tmp_path / str(workers), create=True)
        make_dataset(storage, "a", {"ann": 30, "bob": 40})
        embed_dataset("a", model=model, store=storage.root, workers=workers)
        digests.append(parts(storage))
    assert digests[0] == digests[1]
    assert len(digests[0]) >= 5


def test_a_second_run_makes_nothing_again(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 40)
    first = embed_dataset("a", model=model, store=store, workers=0)
    before = {n: storage.path(f"datasets/a/embeddings/{n}").stat().st_ino for n in parts(storage)}
    second = embed_dataset("a", model=model, store=store, workers=0)
    assert (first.resumed, second.resumed, second.units) == (0, 3, 3)
    assert (second.samples, second.dim) == (40, 3)
    units = [name for name in before if "part-" in name]
    after = {n: storage.path(f"datasets/a/embeddings/{n}").stat().st_ino for n in units}
    assert after == {name: before[name] for name in units}


def test_missing_and_damaged_units_are_made_again_to_the_same_bytes(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 60)
    embed_dataset("a", model=model, store=store, workers=0)
    whole = parts(storage)
    folder = storage.path(f"datasets/a/embeddings/{next(iter(whole)).split('/')[0]}")
    (folder / "part-000001.parquet").unlink()
    (folder / "part-000002.parquet").write_bytes(b"PAR1")
    (folder / ".tmp-0011").write_bytes(b"half")
    result = embed_dataset("a", model=model, store=store, workers=0)
    assert result.resumed == 2
    assert parts(storage) == whole


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, model):
    digests = []
    code = (
        "import sys; from fusekit.curate.embed import embed_dataset\n"
        "if __name__ == '__main__':\n"
        "    embed_dataset('a', model=sys.argv[2], store=sys.argv[1], workers=1)\n"
    )
    for kill in (False, True):
        storage = open_store(tmp_path / str(kill), create=True)
        make_dataset(storage, "a", 600, unit_size=50)
        command = [sys.executable, "-c", code, str(storage.root), model]
        if kill:
            process = subprocess.Popen(command, start_new_session=True)
            while process.poll() is None and not list(storage.root.rglob("part-000001*.parquet")):
                time.sleep(0.002)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        subprocess.run(command, check=True)
        digests.append(parts(storage))
    assert digests[0] == digests[1]


def test_changed_crops_are_embedded_again(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 5)
    embed_dataset("a", model=model, store=store, workers=0)
    name = layout.embeddings("a", EmbeddingSet.open(storage, open_dataset(storage, "a")).model
                             .folder, 0)  # fmt: skip
    table = storage.read(name)
    images = [cv2.imencode(".jpg", draw_crop(90 + i))[1].tobytes() for i in range(5)]
    other = open_store(store.parent / "other", create=True)
    make_dataset(other, "a", 5, images=images)
    other.write(name, table)
    result = embed_dataset("a", model=model, store=other.root, workers=0)
    assert result.resumed == 0
    assert other.read(name) != table


def test_a_contract_beside_the_model_makes_other_embeddings(store, tmp_path):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 5)
    path = mean_colour_embedder(tmp_path / "m.onnx")
    embed_dataset("a", model=str(path), store=store, workers=0)
    before = parts(storage)
    path.with_name("m.onnx.json").write_text(json.dumps({"colour": "bgr"}))
    result = embed_dataset("a", model=str(path), store=store, workers=0)
    assert result.resumed == 0
    now = EmbeddingSet.open(storage, open_dataset(storage, "a"), embedding_model(
        resolve_model(str(path), "embed")))  # fmt: skip
    assert "bgr" in now.model.contract
    assert set(parts(storage).values()) != set(before.values())


def test_an_erased_sample_keeps_its_row(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 5)
    part = layout.manifest_part("a", 0)
    rows = read_table(storage, part, MANIFEST_SCHEMA).to_pylist()
    rows[2]["length"] = rows[4]["length"] = 0
    write_table(storage, part, rows, MANIFEST_SCHEMA, asdict(read_record(storage, "a", 0)))
    assert embed_dataset("a", model=model, store=store, workers=0).samples == 5
    vectors = next(EmbeddingSet.open(storage, open_dataset(storage, "a")).blocks()).vectors
    assert vectors.any(axis=1).tolist() == [True, True, False, True, False]


def test_an_empty_unit_and_an_empty_dataset_are_fine(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 0)
    result = embed_dataset("a", model=model, store=store, workers=0)
    assert (result.samples, result.dim) == (0, 3)
    make_dataset(storage, "b", 3)
    with UnitWriter(storage, "b", 1) as writer:
        writer.commit(0)
    info = open_dataset(storage, "b")
    object.__setattr__(info, "units", 2)
    embed_with(storage, info, resolve_model(model, "embed"), 0, silent)
    assert EmbeddingSet.open(storage, info).rows == 3


def test_progress_adds_up(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 40)
    seen = []
    embed_dataset("a", model=model, store=store, workers=0, report=seen.append)
    mine = [p for p in seen if p.stage == "embed a by colour"]
    assert [p.done for p in mine] == sorted(p.done for p in mine)
    assert (mine[0].done, mine[-1].done, mine[-1].total, mine[-1].unit) == (0, 40, 40, "samples")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"\xff\xd8\xff no jpeg", r"shards/a-000000.tar: \w{16}_00: does not decode \(.*; expecte"),
        (
            cv2.imencode(".jpg", np.zeros((96, 96, 3), np.uint8))[1].tobytes(),
            r"\w{16}_00: decodes to uint8 \(96, 96, 3\); expected uint8 \(112, 112, 3\)",
        ),
    ],
)
def test_a_crop_that_does_not_decode_is_an_error_that_names_its_key(store, model, image, message):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 1, images=[image])
    with pytest.raises(WorkError, match=message):
        embed_dataset("a", model=model, store=store, workers=0)


def test_a_flipped_byte_of_a_crop_is_an_error_that_names_its_key(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 3)
    row = read_table(storage, layout.manifest_part("a", 0), MANIFEST_SCHEMA).to_pylist()[1]
    path = storage.path(layout.shard("a", 0))
    data = bytearray(path.read_bytes())
    data[row["offset"] + row["length"] // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WorkError, match=rf"{row['key']}: is not the crop that the manifest names"):
        embed_dataset("a", model=model, store=store, workers=0)
    path.unlink()
    with pytest.raises(WorkError, match=r"a-000000.tar: is missing; fusekit verify a tells"):
        embed_dataset("a", model=model, store=store, workers=0)


def test_one_bad_unit_does_not_stop_the_others(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 48)
    storage.path(layout.shard("a", 1)).unlink()
    with pytest.raises(WorkError, match=r"1 of 3 units failed"):
        embed_dataset("a", model=model, store=store, workers=0)
    assert len([name for name in parts(storage) if "part-" in name]) == 2


def test_a_model_that_gives_no_direction_is_an_error_that_names_the_key(store, tmp_path):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 2)
    for value in (0.0, np.nan):
        path = constant_model(
            tmp_path / "zero.onnx", [("output", np.full((1, 4), value))], ("n", 3, 112, 112)
        )
        with pytest.raises(WorkError, match=r"_00: its embedding is zero or not finite; expect"):
            embed_dataset("a", model=str(path), store=store, workers=0)


def test_what_can_not_be_embedded_is_said_before_any_work(store, model, tmp_path):
    storage = open_store(store, create=True)
    with pytest.raises(
        StoreError, match=r"^crawl: is not ingested; fusekit ingest CARD --as crawl"
    ):
        embed_dataset("crawl", model=model, store=store)
    make_dataset(storage, "a", 2, template="lightcnn-144")
    with pytest.raises(StoreError, match=r"a: holds lightcnn-144 crops; expected crops of arcface"):
        embed_dataset("a", model=model, store=store)
    with pytest.raises(ModelError, match=r"none.onnx"):
        embed_dataset("a", model=str(tmp_path / "none.onnx"), store=store)
    assert not storage.exists("datasets/a/embeddings")


def test_two_runs_at_once_are_refused(store, model):
    storage = open_store(store, create=True)
    make_dataset(storage, "a", 2)
    embed_dataset("a", model=model, store=store, workers=0)
    folder = EmbeddingSet.open(storage, open_dataset(storage, "a")).model.folder
    with (
        storage.lock(f"a.embeddings.{folder}"),
        pytest.raises(StoreError, match=r"another run is writing it; wait for it or stop it"),
    ):
        embed_dataset("a", model=model, store=store, workers=0)
