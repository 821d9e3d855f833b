"""Crops with red and blue swapped are told, and never changed."""

import cv2
import numpy as np
import pytest
import simplejpeg
from support.forms import face_photo

from fusekit.formats.recordio_writer import write_pack
from fusekit.ingest.dataset import ingest_dataset
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store


def pack(folder, *, swapped=False, grey=False, images=24):
    def crop(seed):
        photo = cv2.resize(simplejpeg.decode_jpeg(face_photo(seed))[30:190, 30:160], (112, 112))
        if grey:
            photo = np.repeat(photo.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
        return simplejpeg.encode_jpeg(np.ascontiguousarray(photo[..., ::-1] if swapped else photo))

    write_pack(folder, [(n // 6, crop(n)) for n in range(images)], images // 6)
    return folder


def ingest(raw, tmp_path):
    return ingest_dataset("recordio", raw=raw, store=tmp_path / "s", workers=0, unit_size=7)


def test_faces_as_they_should_be_raise_no_remark(tmp_path):
    result = ingest(pack(tmp_path / "raw"), tmp_path)
    assert result.remarks == []
    assert (result.colours["images"], result.colours["swapped"]) == (24, False)
    assert result.colours["red"] > result.colours["blue"]


def test_swapped_crops_are_reported_and_stored_as_they_are(tmp_path):
    raw = pack(tmp_path / "raw", swapped=True)
    result = ingest(raw, tmp_path)
    (remark,) = result.remarks
    assert remark.startswith("red and blue look swapped: ")
    assert remark.endswith("crops are bluer than red, where faces are redder; nothing was changed")
    assert result.colours["swapped"]
    info = open_dataset(open_store(tmp_path / "s"), "recordio")
    assert info.colours == result.colours
    assert ingest(raw, tmp_path).remarks == [remark], "also when nothing is left to do"


@pytest.mark.parametrize("make", [{"grey": True}, {"images": 18, "swapped": True}])
def test_grey_crops_and_few_crops_say_nothing(tmp_path, make):
    result = ingest(pack(tmp_path / "raw", **make), tmp_path)
    assert not result.colours["swapped"]
    assert result.remarks == []


@pytest.mark.shared
@pytest.mark.parametrize(
    "folder", ["glint_rec", "lab/faces_pins_112x112", "lab/faces_celeba299_112x112"]
)
def test_real_packs_are_not_suspected(shared, tmp_path, folder):
    store = tmp_path / "s"
    raw = shared / "faces" / folder
    colours = ingest_dataset("recordio", raw=raw, store=store, workers=0).colours
    assert colours["images"] > 200
    assert not colours["swapped"]
    assert colours["bluer"] < 0.2
