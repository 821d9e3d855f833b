"""Videos from raw folder to shards: the same bytes whoever reads which frames."""

import hashlib

import pyarrow.parquet as pq
import pytest
from support.forms import face_photo
from support.videos import write_video

from fusekit.faces.image import decode_image
from fusekit.ingest.dataset import ingest_dataset


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for name, seeds in {"ann/a.mp4": (0, 1), "bob/b.avi": (2,)}.items():
        photos = [decode_image(face_photo(seed), "face") for seed in seeds for _ in range(20)]
        write_video(folder / name, photos)
    return folder


def ingest(raw, store, **more):
    result = ingest_dataset(
        "video", raw=raw, store=store, unit_size=2, options={"every_ms": 400}, **more
    )
    shards = sorted((store / "datasets/video/shards").iterdir())
    return result, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}


def test_any_number_of_workers_gives_the_same_shards_in_the_videos_order(raw, tmp_path):
    alone, shards = ingest(raw, tmp_path / "alone", workers=0)
    several, same = ingest(raw, tmp_path / "several", workers=2)
    assert alone.kept == several.kept == 6
    assert len(shards) == 3
    assert shards == same
    rows = pq.read_table(tmp_path / "alone/datasets/video/manifest").to_pylist()
    assert [(row["unit"], row["source"]) for row in sorted(rows, key=lambda row: row["unit"])] == [
        (0, "ann/a.mp4#t=0"), (0, "ann/a.mp4#t=400"), (1, "ann/a.mp4#t=800"),
        (1, "ann/a.mp4#t=1200"), (2, "bob/b.avi#t=0"), (2, "bob/b.avi#t=400"),
    ]  # fmt: skip


def test_a_unit_that_is_done_again_gives_the_same_shard(raw, tmp_path):
    _, shards = ingest(raw, tmp_path / "store", workers=0)
    dataset = tmp_path / "store/datasets/video"
    (dataset / "dataset.json").unlink()
    (dataset / "manifest/part-000001.parquet").unlink()
    result, again = ingest(raw, tmp_path / "store", workers=0)
    assert result.resumed == 2
    assert again == shards
