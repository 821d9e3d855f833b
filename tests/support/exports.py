"""Mixtures and evaluation sets to export, and readers of packs that share no code with fusekit."""

import struct
from pathlib import Path

import simplejpeg
from support.recipes import build
from support.stores import draw_crop, make_dataset

from fusekit.faces.image import encode_crop
from fusekit.schema import PAIRS_SCHEMA
from fusekit.storage.folder import Storage
from fusekit.store import layout
from fusekit.store.tables import write_table

MARK = 0xCED7230A
PEOPLE = {"vgg": {"ann": 5, "bob/..": 7}, "rec": {"0": 3, "ann": 1}}
CRAWLED = 9


def draw_images(count: int, fmt: str, seed: int = 0) -> list[bytes]:
    """Crops in the format that a store would hold them in."""
    return [encode_crop(draw_crop(seed * 7919 + i), fmt) for i in range(count)]


def make_mixture(root: Path, formats: tuple[str, str] = ("jpg", "png")) -> Storage:
    """A store with the mixture m: two labeled datasets and a crawl; one spelling twice."""
    from fusekit.store.layout import open_store

    storage = open_store(root, create=True)
    for name, fmt, seed in zip(PEOPLE, formats, (1, 2), strict=True):
        images = draw_images(sum(PEOPLE[name].values()), fmt, seed)
        names = {"ann": "Ann\tA.  Ñ"} if name == "vgg" else None
        make_dataset(storage, name, PEOPLE[name], unit_size=5, fmt=fmt, images=images, names=names)
    make_dataset(storage, "crawl", CRAWLED, unit_size=4, seed=3)
    build(storage, *PEOPLE, unlabeled=["crawl"])
    return storage


def labeled_rows(storage: Storage) -> list[dict]:
    """The labeled rows of the mixture m by label, then as they stand in its table."""
    import pyarrow.parquet as pq

    rows = pq.read_table(storage.path("mixtures/m/labeled.parquet")).to_pylist()
    return sorted(rows, key=lambda row: row["label"])


def stored_image(storage: Storage, row: dict) -> bytes:
    """A row's image, from its shard."""
    shard = storage.path(f"{layout.dataset(row['dataset'])}/shards/{row['shard']}")
    return shard.read_bytes()[row["offset"] : row["offset"] + row["length"]]


def make_evaluation_set(storage: Storage, name: str = "lfw", folds: int = 10, **more) -> list[str]:
    """An evaluation set of 12 people with 2 images each; gives the keys of its samples."""
    people = {f"person_{i:02d}": 2 for i in range(12)}
    make_dataset(storage, name, people, kind="evaluation", **more)
    sources = [f"{p}/{i:05d}.jpg" for i, p in enumerate(p for p in people for _ in range(2))]
    keys = [layout.sample_key(source, 0) for source in sources]
    pairs = [
        pair(keys, sources, 2 * ((fold + n) % 12), 2 * ((fold + n) % 12) + 1 + (0 if same else 2),
             fold, same=same)
        for fold in range(1, folds + 1)
        for same in (True, False)
        for n in (0, 4)
    ]  # fmt: skip
    write_pairs(storage, name, pairs)
    return keys


def pair(keys, sources, a, b, fold, *, same, protocol="view-2", main=True) -> dict:
    """A row of an evaluation set's pairs; a and b are numbers of samples."""
    a, b = a % len(keys), b % len(keys)
    return {
        "protocol": protocol, "main": main, "fold": fold, "key_a": keys[a], "key_b": keys[b],
        "same": same, "source_a": sources[a], "source_b": sources[b],
    }  # fmt: skip


def read_pairs(storage: Storage, name: str = "lfw") -> list[dict]:
    """An evaluation set's pairs."""
    import pyarrow.parquet as pq

    return pq.read_table(storage.path(layout.protocol(name, "pairs"))).to_pylist()


def write_pairs(storage: Storage, name: str, pairs: list[dict]) -> None:
    """Give an evaluation set these pairs."""
    write_table(storage, layout.protocol(name, "pairs"), pairs, PAIRS_SCHEMA)


class ArcFacePack:
    """What ``arcface_torch`` reads of a pack, by its own rules and nothing else.

    The index is text; key 0 is read first: with a flag its first label is one past the last
    image's key, else every key is an image. A label is the header's, or the first of several.
    """

    def __init__(self, folder: Path) -> None:
        lines = (folder / "train.idx").read_text().splitlines()
        self.offsets = {int(k): int(o) for k, o in (line.split("\t") for line in lines)}
        self.data = (folder / "train.rec").read_bytes()
        flag, labels, _, _ = self.unpack(0)
        self.keys = list(range(1, int(labels[0]))) if flag > 0 else sorted(self.offsets)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> tuple[bytes, int]:
        _, labels, _, image = self.unpack(self.keys[number])
        return image, int(labels[0])

    def unpack(self, key: int) -> tuple[int, tuple[float, ...], int, bytes]:
        """Flag, labels, id and image of a record."""
        record = self.record(self.offsets[key])
        flag, label, number, _ = struct.unpack_from("<IfQQ", record)
        labels = struct.unpack_from(f"<{flag}f", record, 24) if flag else (label,)
        return flag, labels, number, record[24 + 4 * flag :]

    def record(self, at: int) -> bytes:
        """A record's bytes, joined from its parts."""
        parts = []
        while True:
            mark, word = struct.unpack_from("<II", self.data, at)
            assert mark == MARK
            kind, length = word >> 29, word & ((1 << 29) - 1)
            parts.append(self.data[at + 8 : at + 8 + length])
            at += 8 + (length + 3) // 4 * 4
            if kind in (0, 3):
                return struct.pack("<I", MARK).join(parts)


def decode(data: bytes):
    """RGB pixels of a JPEG."""
    return simplejpeg.decode_jpeg(data, "RGB")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
