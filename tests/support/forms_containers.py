"""The generic containers in every form."""

import json
from pathlib import Path

import pyarrow.parquet as pq
from support.containers import (
    drawn_pairs,
    hf_table,
    labeled_lmdb,
    write_arrow,
    write_img2dataset,
    write_parquet,
    write_tar,
    write_tfrecords,
)
from support.forms import FormCase, face_box, face_landmarks, face_photo
from support.raw import draw_jpeg, write_files

FETCHED = {"000000000": 0, "000000002": 1}


def labeled_shards(root: Path) -> Path:
    """Two shards of photographs: who it is in a .cls, or with a box in a .json."""
    write_tar(
        root / "faces-000000.tar",
        [
            ("a/0.jpg", face_photo(0)),
            ("a/0.cls", b"7"),
            ("a/1.JPG", face_photo(1)),
            ("a/1.cls", b"10"),
        ],
    )
    record = {
        "identity": "7",
        "bbox": face_box(2),
        "landmarks": face_landmarks(2),
        "split": "validation",
    }
    members = [
        ("b/0.json", json.dumps(record).encode()),
        ("b/0.jpg", face_photo(2)),
        ("b/1.txt", b"no picture"),
    ]
    write_tar(root / "faces-000001.tar", members)
    return write_files(root, {"README.md": "two shards"})


def own_shards(root: Path) -> Path:
    """A shard as a fusekit store has it."""
    members = []
    for seed, person in enumerate(("n000002", "n000002", "n000001")):
        record = {
            "bbox": [100.0, 100.0, 250.5, 300.0], "dataset": "vggface2", "dataset_index": 8,
            "det_score": 0.99, "identity": person, "identity_index": 1,
            "landmarks": face_landmarks(0), "source": f"train/{person}/{seed}.jpg",
        }  # fmt: skip
        members += [
            (f"key{seed}_00.jpg", draw_jpeg(seed)),
            (f"key{seed}_00.json", json.dumps(record).encode()),
        ]
    write_tar(root / "vggface2-000000.tar", members)
    return root


def downloads(root: Path) -> Path:
    """Two shards of img2dataset, one of each of its first output formats."""
    write_img2dataset(root, {key: face_photo(seed) for key, seed in FETCHED.items()})
    files = {
        key.replace("00000", "00001", 1): face_photo(seed + 2) for key, seed in FETCHED.items()
    }
    return write_img2dataset(root, files, files=True, shard=1)


def crawled_shards(root: Path) -> Path:
    """Numbered shards of pictures alone."""
    write_tar(root / "crawl-000000.tar", [(f"{n}.jpg", face_photo(n)) for n in range(2)])
    return root


def labeled_table(root: Path) -> Path:
    """Hugging Face's layout: splits by the files' names, class labels."""
    photos = [face_photo(seed) for seed in range(4)]
    people = {"label": ["n000009", "n000010"]}
    write_parquet(
        root / "data/train-00000-of-00001.parquet", hf_table(photos[:3], people, label=[0, 1, 1])
    )
    test = hf_table(photos[3:], people, label=[0], name=["Anne"])
    write_parquet(root / "data/validation-00000-of-00001.parquet", test)
    return write_files(root, {"README.md": "---\nconfigs: []\n---\n"})


def mixed_folders(root: Path) -> Path:
    """Photographs at two depths, a drawing, and a list."""
    photos = {"a.jpg": face_photo(0), "b/c/d.JPEG": face_photo(1), "drawing.png": draw_jpeg(0)}
    return write_files(root, {**photos, "list.csv": "a,b\n"})


def saved_table(root: Path) -> Path:
    """A split that Hugging Face's library saved to disk."""
    write_arrow(root / "train", hf_table([face_photo(n) for n in range(3)]))
    return root


def check_urls(store: Path) -> None:
    (file,) = (store / "datasets").glob("*/samples-*.parquet")
    urls = pq.read_table(file)["url"].to_pylist()
    assert sorted(set(urls)) == ["https://example.com/0.jpg", "https://example.com/2.jpg"]
    gone = pq.read_table(next(store.glob("datasets/*/rejects-000000.parquet"))).to_pylist()
    assert {row["reason"] for row in gone} == {"not_downloaded"}
    assert all(row["url"].startswith("http") for row in gone)


DOWNLOADS = FormCase(
    build=downloads, items=6, identities=(), rejects={"not_downloaded": 2}, check=check_urls
)

FORMS = {
    ("webdataset", "webdataset"): FormCase(
        build=labeled_shards, items=4, identities=("7", "10"), rejects={"missing": 1},
        splits={"val": 1},
    ),
    ("webdataset", "fusekit"): FormCase(
        build=own_shards, items=3, identities=("n000001", "n000002")
    ),
    ("img2dataset", "img2dataset"): DOWNLOADS,
    ("parquet", "parquet"): FormCase(
        build=labeled_table, items=4, identities=("n000009", "n000010"),
        names={"n000009": "Anne"}, splits={"train": 3, "val": 1},
    ),
    ("lmdb", "lmdb"): FormCase(
        build=lambda root: labeled_lmdb(root / "faces.lmdb", drawn_pairs([0, 0, 1, 10])),
        items=4, identities=("0", "1", "10"),
    ),
    ("tfrecord", "tfrecord"): FormCase(
        build=lambda root: write_tfrecords(
            root,
            [[("0000045/001.jpg", draw_jpeg(0)), ("0000045/002.jpg", draw_jpeg(1))],
             [("0000099/001.jpg", draw_jpeg(2))]],
        ),
        items=3, identities=("0000045", "0000099"),
    ),
    ("unlabeled", "img2dataset"): DOWNLOADS,
    ("unlabeled", "webdataset"): FormCase(build=crawled_shards, items=2, identities=()),
    ("unlabeled", "parquet"): FormCase(
        build=saved_table, items=3, identities=(), splits={"train": 3}
    ),
    ("unlabeled", "unlabeled"): FormCase(
        build=mixed_folders, items=3, identities=(), rejects={"no_face": 1}
    ),
}  # fmt: skip
