"""A mixture of several templates is exported as the loader gives it: one size, one template."""

import json

import cv2
import numpy as np
import pytest
from support.exports import ArcFacePack, labeled_rows, stored_image
from support.recipes import build
from support.stores import draw_sized_crop, make_dataset

import fusekit
from fusekit.cards.card import CROP_SIZES
from fusekit.faces.image import decode_image, encode_crop
from fusekit.faces.rewarp import Rewarp
from fusekit.store.layout import open_store

SIZES = {"arc": "arcface-112", "sphere": "sphereface-96x112"}


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("mixed") / "store", create=True)
    for seed, (name, template) in enumerate(SIZES.items()):
        crops = [draw_sized_crop(100 * seed + n, CROP_SIZES[template]) for n in range(5)]
        images = [encode_crop(crop, "jpg") for crop in crops]
        make_dataset(storage, name, {"ann": 3, "bob": 2}, template=template, images=images)
    build(storage, *SIZES, template="arcface-112")
    return storage


def test_crops_of_another_template_are_brought_to_the_mixtures(storage, tmp_path):
    result = fusekit.export_mixture("m", tmp_path / "out", "recordio", store=storage.root)
    assert (result.images, result.as_png) == (10, 5)
    assert result.remarks == ["5 crops are brought to arcface-112, and become PNG files"]
    assert (tmp_path / "out/property").read_text() == "4,112,112"
    assert json.loads((tmp_path / "out/export.json").read_text())["template"] == "arcface-112"
    names = [line.rpartition(".")[2] for line in (tmp_path / "out/train.lst").read_text().split()]
    assert [name for name in names if name in {"jpg", "png"}] == ["jpg"] * 5 + ["png"] * 5
    rewarp = Rewarp.of("sphereface-96x112")
    for (image, _), row in zip(ArcFacePack(tmp_path / "out"), labeled_rows(storage), strict=True):
        stored = stored_image(storage, row)
        if row["dataset"] == "arc":
            assert image == stored
        else:
            pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
            assert np.array_equal(pixels, rewarp(decode_image(stored, "a crop")))


@pytest.mark.parametrize("fmt", ["folders", "parquet", "lmdb", "webdataset"])
def test_every_format_has_room_for_what_becomes_png(storage, tmp_path, fmt):
    result = fusekit.export_mixture("m", tmp_path / "out", fmt, store=storage.root)
    assert (result.state, result.as_png) == ("written", 5)


def test_the_bound_on_a_png_holds_for_noise():
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    assert len(encode_crop(noise, "png")) < 3 * 112 * 112 + 112 + 1024
