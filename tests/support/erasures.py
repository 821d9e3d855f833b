"""Search a store for bytes and texts, by brute force, and make one that has something of all."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.people import MODEL, embed_as
from support.recipes import build
from support.stores import make_dataset, pairs_table

from fusekit.schema import (
    ACTIVATIONS_SCHEMA,
    DUPLICATES_SCHEMA,
    LABEL_NOISE_SCHEMA,
    OVERLAP_SCHEMA,
)
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import finish_embeddings
from fusekit.store.findings import write_finding
from fusekit.store.heads import write_head
from fusekit.store.layout import open_store

WINDOW = 64
PEOPLE = {"Ann Lee": 9, "bob": 8, "cid": 7}


def make_whole_store(path):
    """Two labeled datasets that share a person, a crawl, pairs, findings, a head, a mixture."""
    storage = open_store(path, create=True)
    make_dataset(storage, "people", PEOPLE, names={"Ann Lee": "Annabel Lee"}, seed=1)
    make_dataset(storage, "others", {"n1": 6, "n2": 5}, seed=2)
    make_dataset(storage, "crawl", 12, seed=3)
    pair = pairs_table([("eve/00000.jpg", "fay/00003.jpg", False),
                        ("eve/00000.jpg", "eve/00001.jpg", True)])  # fmt: skip
    make_dataset(
        storage,
        "evaluation",
        {"eve": 3, "fay": 2},
        kind="evaluation",
        protocol={"pairs": pair},
        seed=4,
    )
    for name in ("people", "others", "crawl"):
        info = open_dataset(storage, name)
        rng = np.random.default_rng(len(name))
        embed_as(storage, info, rng.standard_normal((info.samples, 8)).astype(np.float32))
        finish_embeddings(storage, info, MODEL)
    give_findings(storage)
    rows = [("people", "Ann Lee"), ("people", "bob"), ("others", "n1")]
    write_head(storage, "known", np.eye(3, 8, dtype=np.float32), scale=64.0, rows=rows,
               embedder=MODEL)  # fmt: skip
    build(storage, "people", "others", unlabeled=["crawl"], name="ten",
          batch={"size": 8, "unlabeled_fraction": 0.25})  # fmt: skip
    return storage


def give_findings(storage):
    infos = {name: open_dataset(storage, name) for name in ("people", "others", "crawl")}
    prints = {name: info.fingerprint for name, info in infos.items()}
    model = {"name": MODEL.name, "sha256": MODEL.sha256}
    keys = pq.read_table(storage.path(infos["crawl"].files[0]))["key"].to_pylist()
    rows = [
        {"key": key, "activation": 0.5 + i / 50, "cosine": 0.4, "nearest_dataset": "people",
         "nearest_identity": ["Ann Lee", "bob"][i % 2], "low_quality": None, "duplicate_of": None}
        for i, key in enumerate(keys)
    ]  # fmt: skip
    about = {"dataset": "crawl", "inputs": prints, "threshold": 0.9, "model": model}
    write_finding(storage, "activation", about, rows, ACTIVATIONS_SCHEMA)
    row = {
        "dataset_a": "people", "identity_a": "Ann Lee", "identity_index_a": 0,
        "dataset_b": "others", "identity_b": "n2", "identity_index_b": 1, "score": 0.7, "votes": 5,
        "compared": 9, "margin": 0.4, "name_match": None, "false_match": 1e-6, "decision": "same",
        "cluster": 0,
    }  # fmt: skip
    about = {"datasets": ["people", "others"], "inputs": prints, "model": model}
    write_finding(storage, "overlap", about, [row], OVERLAP_SCHEMA)
    mine = pq.read_table(storage.path(infos["people"].files[0])).to_pylist()[:8]
    rows = [
        {"key": r["key"], "identity": r["identity"], "identity_index": r["identity_index"],
         "flag": "outlier", "cluster": -1, "score": 0.1, "nearest_identity": "Ann Lee",
         "nearest_score": 0.2, "decision": "drop"}
        for r in mine
    ]  # fmt: skip
    about = {"dataset": "people", "inputs": prints, "model": model}
    write_finding(storage, "label-noise", about, rows, LABEL_NOISE_SCHEMA)
    rows = [
        {"group": i // 2, "dataset": "people", "key": r["key"], "identity": r["identity"],
         "match": "near", "distance": 1, "cosine": 0.9, "quality": 0.5, "best": i % 2 == 0,
         "conflict": False, "decision": "drop" if i % 2 else "keep"}
        for i, r in enumerate(mine)
    ]  # fmt: skip
    about = {"datasets": ["people"], "inputs": prints, "model": model}
    write_finding(storage, "duplicates", about, rows, DUPLICATES_SCHEMA)


def samples(store, dataset):
    """The rows of a dataset's samples, from its manifest parts."""
    parts = sorted(Path(store, "datasets", dataset, "manifest").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part, partitioning=None).to_pylist()]


def crop_of(store, row):
    data = Path(store, "datasets", row["dataset"], "shards", row["shard"]).read_bytes()
    return data[row["offset"] : row["offset"] + row["length"]]


def everything(store):
    """Every byte of a store as it is read: files, and what is packed in tables."""
    for path in sorted(Path(store).rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()
        if path.suffix == ".parquet":
            yield path, unpacked(pq.read_table(path, partitioning=None))
            yield path, str(pq.read_schema(path).metadata).encode()


def unpacked(table):
    found = []
    for column in table.columns:
        for chunk in column.chunks:
            found += [b.to_pybytes() for b in chunk.buffers() if b is not None]
            if pa.types.is_string(chunk.type):
                found += [(text or "").encode() + b"\n" for text in chunk.to_pylist()]
    return b"\0".join(found)


def files_with(store, text):
    return sorted({p.relative_to(store).as_posix() for p, data in everything(store)
                   if text.encode() in data})  # fmt: skip


def windows(data):
    return {data[i : i + WINDOW] for i in range(len(data) - WINDOW + 1)}


def files_with_windows(store, wanted):
    """Files that hold any 64 bytes in a row of these, found at every place by brute force."""
    starts = {window[:6] for window in wanted}
    pairs = np.zeros(1 << 16, bool)  # of the first two bytes: most places need no closer look
    pairs[[int.from_bytes(start[:2], "little") for start in starts]] = True
    triples = np.zeros(1 << 24, bool)
    triples[[int.from_bytes(start[:3], "little") for start in starts]] = True
    found = set()
    for path, data in everything(store):
        padded = data + bytes(3)
        for shift in (0, 1):
            heads = np.frombuffer(padded, "<u2", (len(padded) - shift) // 2, shift)
            at = 2 * np.flatnonzero(pairs[heads])
            third = np.frombuffer(padded, np.uint8)[np.minimum(at + shift + 2, len(padded) - 1)]
            at = at[triples[heads[at // 2] | third.astype(np.int64) << 16]] + shift
            if any(data[i : i + WINDOW] in wanted for i in at.tolist()):
                found.add(path.relative_to(store).as_posix())
    return sorted(found)


def digests(store):
    """Every file of a store but its locks, and its sha256."""
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(store).rglob("*"))
        if path.is_file() and ".locks" not in path.parts
    }
