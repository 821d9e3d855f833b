"""How long building a mixture takes, and how much memory: ``python tests/bench/mixture.py ROWS``.

The store holds manifests without shards: half of the rows labeled with 50 images a person, half
unlabeled with an activation finding. Prints a Markdown table.
"""

import hashlib
import sys
import tempfile
import time
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from fusekit.mixture.build import build_mixture
from fusekit.mixture.mixture import Mixture
from fusekit.mixture.recipe import Recipe
from fusekit.schema import (
    ACTIVATIONS_SCHEMA,
    IDENTITIES_SCHEMA,
    MANIFEST_SCHEMA,
    REJECTS_SCHEMA,
)
from fusekit.storage.folder import Storage
from fusekit.store import layout
from fusekit.store.commit import UnitRecord
from fusekit.store.datasets import claim_index, finish_dataset, open_dataset
from fusekit.store.findings import write_finding
from fusekit.store.layout import open_store
from fusekit.store.sql import query
from fusekit.store.tables import write_table

UNIT = 8192
IMAGES = 50
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)


def keys(unit: int, rows: int) -> pa.Array:
    """Keys of the real form: 16 random letters and a face number."""
    text = np.full((rows, 19), ord("0"), np.uint8)
    text[:, 16] = ord("_")
    text[:, :16] = LETTERS[np.random.default_rng(unit).integers(0, 32, (rows, 16))]
    offsets = pa.py_buffer(np.arange(0, 19 * rows + 1, 19, dtype=np.int32))
    return pa.Array.from_buffers(pa.string(), rows, [None, offsets, pa.py_buffer(text)])


def manifest(name: str, index: int, people: int, unit: int) -> pa.Table:
    """One unit's rows; crops of about 3 KB."""
    rng = np.random.default_rng(unit)
    person = rng.integers(0, people, UNIT) if people else np.full(UNIT, -1)
    digest = pa.Array.from_buffers(pa.binary(16), UNIT, [None, pa.py_buffer(rng.bytes(16 * UNIT))])
    box = pa.array(rng.random(4 * UNIT, np.float32))
    points = pa.array(rng.random(10 * UNIT, np.float32))
    same = {
        "dataset": name, "dataset_index": index, "kind": "labeled" if people else "unlabeled",
        "shard": layout.shard_file(name, unit), "format": "jpg", "width": 112, "height": 112,
        "face_count": 1, "channels": 3, "media": "still", "unit": unit, "yaw": 0.0,
        "eye_distance": 40.0, "sharpness": 100.0, "brightness": 128.0, "jpeg_quality": 95,
        "length": 3000, "time_ms": None, "frame": None, "video": None, "split": None,
        "hint_iou": None, "url": None,
    }  # fmt: skip
    columns = {
        "key": keys(unit, UNIT),
        "identity": pa.array([f"n{p:06d}" if p >= 0 else None for p in person.tolist()]),
        "identity_index": pa.array(person, pa.int32()),
        "offset": pa.array(np.arange(UNIT) * 4096 + 512, pa.int64()),
        "source": pa.array([f"n/{unit}/{i}.jpg" for i in range(UNIT)]),
        "source_digest": digest, "content_digest": digest,
        "det_score": pa.array(rng.random(UNIT, np.float32)),
        "bbox": pa.FixedSizeListArray.from_arrays(box, 4),
        "landmarks": pa.FixedSizeListArray.from_arrays(points, 10),
    }  # fmt: skip
    for field in MANIFEST_SCHEMA:
        if field.name in same:
            columns[field.name] = pa.array([same[field.name]] * UNIT, field.type)
    return pa.table([columns[f.name] for f in MANIFEST_SCHEMA], schema=MANIFEST_SCHEMA)


def make(storage: Storage, name: str, units: int, people: int) -> None:
    """Write a finished dataset without its shards."""
    index = claim_index(storage, name, None)
    for unit in range(units):
        record = UnitRecord(
            unit=unit, items=UNIT, kept=UNIT, rejected=0, samples=UNIT,
            shard_sha256=hashlib.sha256(f"{name}{unit}".encode()).hexdigest(),
            shard_size=UNIT * 4096,
        )  # fmt: skip
        write_table(storage, layout.rejects_part(name, unit), [], REJECTS_SCHEMA)
        table = manifest(name, index, people, unit)
        write_table(
            storage, layout.manifest_part(name, unit), table, MANIFEST_SCHEMA, asdict(record)
        )
    rows = [{"identity_index": i, "identity": f"n{i:06d}", "name": None} for i in range(people)]
    write_table(storage, layout.identities(name), rows, IDENTITIES_SCHEMA)
    finish_dataset(
        storage, name, units=units, index=index, kind="labeled" if people else "unlabeled",
        template="arcface-112", crop_size=(112, 112), identities=people, plan="0" * 64,
        form="drawn", card={}, settings={}, versions={}, ignored={},
    )  # fmt: skip


def give_activations(storage: Storage, name: str, units: int) -> None:
    """Write an activation for every sample; a tenth is over 0.9."""
    pieces = []
    for unit in range(units):
        value = pa.array(np.random.default_rng(unit + 7).random(UNIT, np.float32))
        known = pa.array(["labeled"] * UNIT), pa.array(["n000000"] * UNIT)
        columns = [keys(unit, UNIT), value, value, *known, *[pa.nulls(UNIT, pa.string())] * 2]
        pieces.append(pa.table(columns, schema=ACTIVATIONS_SCHEMA))
    about = {
        "dataset": name, "inputs": {name: open_dataset(storage, name).fingerprint},
        "against": ["labeled"], "head": None, "rule": "activation", "cosine_threshold": None,
    }  # fmt: skip
    write_finding(storage, "activation", about, pa.concat_tables(pieces), ACTIVATIONS_SCHEMA)


RULES = {"where": "det_score >= 0.1", "max_images": 40, "min_images": 5}
RECIPE = {
    "name": "m", "labeled": [{"dataset": "labeled"} | RULES],
    "unlabeled": [{"dataset": "crawl", "max_activation": 0.9}],
}  # fmt: skip
STEPS = {
    "select only (--dry-run)": lambda root: build_mixture(
        Recipe.model_validate(RECIPE), root, dry_run=True
    ),
    "build": lambda root: build_mixture(Recipe.model_validate(RECIPE), root),
    "open and map the index": lambda root: len(Mixture.open("m", root).index),
    "SQL: images by identity": lambda root: query(
        "SELECT identity, count(*) FROM samples GROUP BY ALL", root
    ),
}


def measure(what: str, root: Path) -> tuple[float, int]:
    """Do one step; give its seconds and this process's peak memory in MB."""
    start = time.perf_counter()
    STEPS[what](root)
    seconds = time.perf_counter() - start
    # Not getrusage: its figure starts at the parent's size.
    status = Path("/proc/self/status").read_text()
    return seconds, int(status.partition("VmHWM:")[2].split()[0]) // 1024


def main() -> None:
    """Build and time, each step in a process of its own."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    units = max(1, rows // UNIT // 2)
    with tempfile.TemporaryDirectory() as folder:
        storage = open_store(Path(folder) / "s", create=True)
        make(storage, "labeled", units, units * UNIT // IMAGES)
        make(storage, "crawl", units, 0)
        give_activations(storage, "crawl", units)
        print("| what | rows | seconds | peak memory, MB |\n|---|---|---|---|")
        for what in STEPS:
            with get_context("spawn").Pool(1) as pool:
                seconds, peak = pool.apply(measure, (what, storage.root))
            print(f"| {what} | {2 * units * UNIT:,} | {seconds:.2f} | {peak:,} |", flush=True)


if __name__ == "__main__":
    main()
