"""Finished crops of another template, from raw folders to a batch."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg
from support.raw import write_files
from support.stores import draw_sized_crop

from fusekit.curate.embed import embed_dataset
from fusekit.ingest.dataset import ingest_dataset
from fusekit.loader.loader import MixtureLoader
from fusekit.mixture.build import build_mixture
from fusekit.report.info import info
from fusekit.report.verify import verify_store

CARD = """
name: {name}
kind: labeled
forms:
  - reader: folders
    aligned: true
    template: {template}
"""
RECIPE = """
name: both
labeled: [{dataset: arc}, {dataset: sphere}]
batch: {size: 7}
template: arcface-112
"""


def crops(first, count, size):
    return {
        f"p{n % 2}/{n:02}.jpg": simplejpeg.encode_jpeg(draw_sized_crop(first + n, size))
        for n in range(count)
    }


@pytest.fixture
def made(tmp_path):
    """The raw crops by dataset, and the store that they were ingested into."""
    raw = {"arc": crops(0, 4, (112, 112)), "sphere": crops(50, 3, (96, 112))}
    write_files(tmp_path / "arc", raw["arc"])
    write_files(tmp_path / "sphere", raw["sphere"] | {
        "p0/square.jpg": simplejpeg.encode_jpeg(draw_sized_crop(9, (112, 112)))
    })  # fmt: skip
    results = {}
    for name, template in (("arc", "arcface-112"), ("sphere", "sphereface-96x112")):
        card = tmp_path / f"{name}.yaml"
        card.write_text(CARD.format(name=name, template=template))
        results[name] = ingest_dataset(
            str(card), raw=tmp_path / name, store=tmp_path / "store", workers=0
        )
    return raw, results, tmp_path / "store"


def test_crops_of_another_template_pass_through_bit_for_bit(made):
    raw, results, store = made
    assert (results["sphere"].kept, results["sphere"].rejects) == (3, {"wrong_size": 1})
    (file,) = (store / "datasets/sphere").glob("samples-*.parquet")
    rows = pq.read_table(file).to_pylist()
    for row in rows:
        assert (row["width"], row["height"], row["format"]) == (96, 112, "jpg")
        digest = hashlib.sha256(raw["sphere"][row["source"]]).digest()[:16]
        assert row["content_digest"] == row["source_digest"] == digest
    assert len(rows) == 3
    (reject,) = pq.read_table(next((store / "datasets/sphere").glob("rejects-*"))).to_pylist()
    assert reject["detail"] == "112x112, the card says 96x112"


def test_it_is_verified_described_and_embedded(made, tmp_path):
    from support.onnx_models import mean_colour_embedder

    _, _, store = made
    assert not verify_store(store).problems
    assert "96x112 sphereface-96x112" in str(info("sphere", store))
    model = str(mean_colour_embedder(tmp_path / "colour.onnx"))
    assert embed_dataset("sphere", model=model, store=store, workers=0).samples == 3


def test_a_mixture_of_both_gives_every_crop_in_the_recipe_s_template(made, tmp_path):
    raw, _, store = made
    (tmp_path / "both.yaml").write_text(RECIPE)
    build_mixture(tmp_path / "both.yaml", store)
    wanted = [simplejpeg.decode_jpeg(data) for data in raw["arc"].values()]
    narrow = [simplejpeg.decode_jpeg(data) for data in raw["sphere"].values()]
    wanted += [np.pad(crop, [(0, 0), (8, 8), (0, 0)]) for crop in narrow]
    with MixtureLoader(
        store / "mixtures/both", 7, layout="hwc", arrays="numpy", augment="none"
    ) as loader:
        (batch,) = loader
    assert batch.dataset_index.tolist().count(1) == 3
    for image in batch.images:
        assert sum(np.array_equal(image, each) for each in wanted) == 1
    assert len({image.tobytes() for image in batch.images}) == 7
    assert not verify_store(store).problems


@pytest.mark.parametrize(
    ("template", "size"), [("dlib-150", (150, 150)), ("ffhq-1024", (1024, 1024))]
)
def test_chips_and_ffhq_crops_are_recorded_and_pass_through(tmp_path, template, size):
    raw = crops(0, 2, size)
    write_files(tmp_path / "raw", raw)
    (tmp_path / "own.yaml").write_text(CARD.format(name="own", template=template))
    store = tmp_path / "store"
    result = ingest_dataset(
        str(tmp_path / "own.yaml"), raw=tmp_path / "raw", store=store, workers=0
    )
    assert result.kept == 2
    about = json.loads((store / "datasets/own/dataset.json").read_text())
    assert (about["template"], tuple(about["crop_size"])) == (template, size)
    for row in pq.read_table(store / "datasets/own/samples-000000.parquet").to_pylist():
        shard = (store / "datasets/own/shards" / row["shard"]).read_bytes()
        assert shard[row["offset"] : row["offset"] + row["length"]] == raw[row["source"]]
    assert not verify_store(store).problems
