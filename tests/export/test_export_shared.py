"""A pack of real faces goes through a store and comes out as it went in."""

import pytest
from support.exports import ArcFacePack
from support.recipes import build

import fusekit
from fusekit.storage.folder import Storage

IMAGES, PEOPLE = 560, 14


@pytest.mark.shared
def test_a_real_pack_comes_out_with_its_images_and_labels(shared, tmp_path):
    raw = shared / "faces/glint_rec"
    store = tmp_path / "store"
    fusekit.ingest_dataset("recordio", raw=raw, store=store, name="glint", workers=0)
    build(Storage(store), "glint")
    result = fusekit.export_mixture("m", tmp_path / "pack", "recordio", store=store)
    before, after = ArcFacePack(raw), ArcFacePack(tmp_path / "pack")
    assert (result.images, result.classes) == (len(before), PEOPLE)
    assert len(before) == IMAGES
    assert sorted((label, image) for image, label in after) == sorted(
        (label, image) for image, label in before
    )
