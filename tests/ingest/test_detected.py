"""Ingest with detection, on photographs that packages ship: choose, align, reject, account."""

import importlib.util
import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import simplejpeg

from fusekit.errors import ModelError
from fusekit.faces.align import align_face
from fusekit.faces.image import decode_image, encode_crop
from fusekit.ingest.dataset import ingest_dataset
from fusekit.report.verify import verify_store
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store

pytestmark = pytest.mark.network


def photograph(package, path):
    return Path(importlib.util.find_spec(package).origin).parent / path


GROUP = photograph("insightface", "data/images/t1.jpg")
ASTRONAUT = photograph("skimage", "data/astronaut.png")


def bomb():
    """A PNG whose header claims 60,000 x 60,000 pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw") / "crawl"
    folder.mkdir()
    (folder / "group.jpg").write_bytes(GROUP.read_bytes())
    (folder / "astronaut.png").write_bytes(ASTRONAUT.read_bytes())
    (folder / "coffee.png").write_bytes(photograph("skimage", "data/coffee.png").read_bytes())
    small = cv2.resize(cv2.imread(str(GROUP)), (120, 83), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "small.png"), small)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (folder / "cut.jpg").write_bytes(GROUP.read_bytes()[:300])
    (folder / "bomb.png").write_bytes(bomb())
    return folder


def ingest(raw, store, **options):
    options = {"workers": 0, "name": "crawl"} | options
    return ingest_dataset("unlabeled", raw=raw, store=store, **options)


def rows(store, name="crawl"):
    info = open_dataset(open_store(store), name)
    return [row for file in info.files for row in pq.read_table(store / file).to_pylist()]


def rejects(store, name="crawl"):
    parts = sorted((store / f"datasets/{name}/rejects").iterdir())
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def image_of(store, row):
    data = (store / f"datasets/{row['dataset']}/shards/{row['shard']}").read_bytes()
    return data[row["offset"] : row["offset"] + row["length"]]


@pytest.fixture(scope="module")
def store(crawl, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "store"
    result = ingest(crawl, folder)
    assert result.items == result.kept + result.rejected == 8
    return folder


def test_every_face_of_a_crawl_is_a_sample_of_its_own_numbered_left_to_right(store):
    group = [row for row in rows(store) if row["source"] == "group.jpg"]
    assert [row["key"][-3:] for row in group] == [f"_{n:02d}" for n in range(6)]
    assert len({row["key"][:16] for row in group}) == 1
    lefts = [row["bbox"][0] for row in group]
    assert lefts == sorted(lefts)
    assert {row["face_count"] for row in group} == {6}
    assert {row["identity"] for row in group} == {None}


def test_every_reject_of_a_crawl_has_its_reason(store):
    found = {r["source"]: r["reason"] for r in rejects(store) if r["level"] == "item"}
    assert found.pop("small.png") in {"face_too_small", "low_score", "no_face"}
    assert found == {
        "coffee.png": "no_face",
        "empty.jpg": "empty",
        "text.jpg": "not_an_image",
        "cut.jpg": "undecodable",
        "bomb.png": "too_large",
    }


def test_the_manifest_alone_reproduces_the_crop(store):
    row = next(row for row in rows(store) if row["source"] == "astronaut.png")
    image = decode_image(ASTRONAUT.read_bytes(), "astronaut.png")
    points = np.round(np.array(row["landmarks"], np.float64), 3).reshape(5, 2)
    assert encode_crop(align_face(image, points), "jpg", 95) == image_of(store, row)


def test_crops_are_rgb_jpegs_without_chroma_subsampling(store):
    row = next(row for row in rows(store) if row["source"] == "astronaut.png")
    height, width, colourspace, subsampling = simplejpeg.decode_jpeg_header(image_of(store, row))
    assert (height, width, colourspace, subsampling) == (112, 112, "YCbCr", "444")
    crop = simplejpeg.decode_jpeg(image_of(store, row), colorspace="RGB").astype(int)
    assert crop[..., 0].mean() > crop[..., 2].mean() + 10, "skin is redder than blue"


def test_figures_of_a_face_are_those_of_its_landmarks(store):
    for row in rows(store):
        points = np.array(row["landmarks"]).reshape(5, 2)
        x0, y0, x1, y1 = row["bbox"]
        assert row["eye_distance"] == pytest.approx(np.linalg.norm(points[1] - points[0]), 1e-5)
        assert (points[:, 0] > x0 - 9).all()
        assert (points[:, 0] < x1 + 9).all()
        assert y0 < points[:2, 1].mean() < points[3:, 1].mean() < y1 + 9
        assert 0.6 <= row["det_score"] <= 1
        assert row["sharpness"] > 0
        assert row["channels"] == 3


def test_the_shards_json_says_the_same_as_the_manifest(store):
    row = rows(store)[0]
    data = (store / f"datasets/crawl/shards/{row['shard']}").read_bytes()
    at = data.index(f"{row['key']}.json".encode()) + 512
    about = json.loads(data[at : data.index(b"\0", at)])
    assert list(about) == sorted(about)
    assert np.allclose(about["landmarks"], row["landmarks"], atol=1e-4)
    assert about["source"] == row["source"]


def test_a_store_with_detected_faces_verifies(store):
    assert verify_store(store=store).problems == ()


@pytest.mark.slow
def test_workers_do_not_change_a_byte_of_detected_crops(crawl, store, tmp_path):
    ingest(crawl, tmp_path / "a", unit_size=1, workers=0)
    ingest(crawl, tmp_path / "b", unit_size=1, workers=2)
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.tar"))
    assert len(names) >= 2
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("fmt", ["png", "raw"])
def test_other_formats_hold_the_same_crop_without_loss(crawl, tmp_path, fmt):
    raw = tmp_path / "one"
    raw.mkdir()
    (raw / "astronaut.png").write_bytes(ASTRONAUT.read_bytes())
    ingest(raw, tmp_path / "store", fmt=fmt)
    [row] = rows(tmp_path / "store")
    data = image_of(tmp_path / "store", row)
    image = decode_image(ASTRONAUT.read_bytes(), "astronaut.png")
    points = np.round(np.array(row["landmarks"], np.float64), 3).reshape(5, 2)
    crop = align_face(image, points)
    if fmt == "png":
        found = decode_image(data, "crop.png")
    else:
        found = np.frombuffer(data[-112 * 112 * 3 :], np.uint8).reshape(112, 112, 3)
    assert np.array_equal(found, crop)
    assert row["format"] == fmt


@pytest.fixture
def tree(tmp_path):
    """One identity of a VGGFace2-like tree whose picture shows six people."""
    folder = tmp_path / "VGG-Face2/train/n000101"
    folder.mkdir(parents=True)
    (folder / "0001_01.jpg").write_bytes(GROUP.read_bytes())
    return tmp_path / "VGG-Face2"


def test_a_labeled_picture_gives_one_face_and_accounts_for_the_others(tree, tmp_path):
    result = ingest_dataset("vggface2", raw=tree, store=tmp_path / "store", workers=0)
    assert (result.items, result.samples, result.faces_left_out) == (1, 1, 5)
    left_out = rejects(tmp_path / "store", "vggface2")
    assert {(r["level"], r["reason"], r["identity"]) for r in left_out} == {
        ("face", "not_chosen", "n000101")
    }
    [row] = rows(tmp_path / "store", "vggface2")
    assert (row["identity"], row["split"], row["hint_iou"]) == ("n000101", "train", None)
    assert row["dataset_index"] == 8


def test_the_releases_own_box_chooses_the_face(tree, tmp_path):
    ingest_dataset("vggface2", raw=tree, store=tmp_path / "a", workers=0)
    [largest] = rows(tmp_path / "a", "vggface2")
    boxes = [r["bbox"] for r in rejects(tmp_path / "a", "vggface2")]
    x0, y0, x1, y1 = (round(v) for v in boxes[-1])
    hints = tree / "bb_landmark"
    hints.mkdir()
    (hints / "loose_bb_train.csv").write_text(
        f'NAME_ID,X,Y,W,H\n"n000101/0001_01",{x0},{y0},{x1 - x0},{y1 - y0}\n'
    )
    ingest_dataset("vggface2", raw=tree, store=tmp_path / "b", workers=0)
    [hinted] = rows(tmp_path / "b", "vggface2")
    assert hinted["bbox"] == pytest.approx(boxes[-1])
    assert hinted["bbox"] != largest["bbox"]
    assert hinted["hint_iou"] > 0.9


def test_a_detector_that_is_not_here_is_one_line_before_any_work(tree, tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.onnx"):
        ingest_dataset("vggface2", raw=tree, store=tmp_path / "s", detector="nowhere.onnx")
    assert not (tmp_path / "s").exists()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("card", "folder", "items", "identities", "at_least"),
    [
        ("vggface2", "vggface2", 32, 3, 0.95),
        ("14-celebrity", "five_celebs", 118, 5, 0.97),
        ("unlabeled", "unlabeled_deepface", None, 0, 0.9),
    ],
)
def test_real_datasets_in_their_own_layouts_are_ingested(
    shared, tmp_path, card, folder, items, identities, at_least
):
    raw = shared / "faces" / folder
    result = ingest_dataset(card, raw=raw, store=tmp_path / "store", workers=2)
    assert result.items == result.kept + result.rejected
    assert items is None or (result.items, result.identities) == (items, identities)
    assert result.kept >= at_least * result.items
    assert verify_store(store=tmp_path / "store").problems == ()


@pytest.mark.shared
def test_text_files_with_the_names_of_pictures_are_rejected_one_by_one(shared, tmp_path):
    raw = shared / "faces/cfp_protocol"
    result = ingest_dataset("folders", raw=raw, store=tmp_path / "s", workers=0, name="cfp")
    assert result.kept == 0
    assert set(result.rejects) == {"not_an_image"}
    assert result.items == result.rejected > 0
