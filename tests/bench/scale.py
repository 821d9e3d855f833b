"""What does a mixture of 20 million samples cost to open, to plan and to resume? Prints one table.

    PYTHONPATH=tests python tests/bench/scale.py [--rows 20000 ... 20000000] [--markdown]

The index is generated: 10 datasets (9 labeled, one crawl of a quarter), 40 samples for each class,
8,192 for each shard. Its rows point at real crops in real shards (a few, under many names), so the
first batch is read and decoded. Each line is measured in a process of its own, page cache warm.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from support.bench_crops import draw_jpeg
from support.benchmarks import machine, replace_section, table, today, versions
from support.stores import make_dataset

from fusekit import Mixture, build_mixture
from fusekit.fingerprint import file_sha256, fingerprint
from fusekit.mixture.index import IndexWriter
from fusekit.mixture.recipe import Recipe
from fusekit.schema import CLASSES_SCHEMA, SHARDS_SCHEMA
from fusekit.store import layout
from fusekit.store.layout import open_store
from fusekit.store.tables import write_table

OPENING = str(Path(__file__).parents[1] / "support" / "bench_opening.py")
SIZES = (20_000, 200_000, 2_000_000, 20_000_000)
SHARES = (0.30, 0.26, 0.15, 0.12, 0.08, 0.04, 0.03, 0.01, 0.01)  # of the labeled rows
CROPS = 256  # real crops of each dataset
PER_CLASS, UNIT, PIECE = 40, 8192, 1 << 20
BATCH = 512
TARGETS = ["target", "2", "300", "", "1", "1", "1", "1", "3", "1"]
HEAD = [
    "samples", "open, s", "own memory, MB", "index mapped, MB", "plan at 0, ms", "at 10⁶",
    "at 10¹²", "P x K", "first batch, s", "restore, ms",
]  # fmt: skip


def make_base(folder):
    """Ten real datasets of a few crops, and a mixture of them: what the big ones are cut from."""
    storage = open_store(folder / "store", create=True)
    images = [draw_jpeg(seed) for seed in range(CROPS)]
    names = [f"set-{k}" for k in range(len(SHARES))]
    for name in names:
        make_dataset(storage, name, {"person": CROPS}, unit_size=CROPS, images=images)
    make_dataset(storage, "crawl", CROPS, unit_size=CROPS, images=images)
    recipe = {
        "name": "base", "labeled": [{"dataset": name} for name in names],
        "unlabeled": [{"dataset": "crawl"}],
        "batch": {"size": BATCH, "unlabeled_fraction": "1/4"},
    }  # fmt: skip
    build_mixture(Recipe.model_validate(recipe), storage.root)
    return storage


def make_big(storage, rows):
    """Write a mixture's folder with this many rows, as ``build_mixture`` lays it."""
    base = Mixture.open("base", storage.root)
    name = f"big-{rows}"
    folder = layout.mixture(name)
    labeled = rows * 3 // 4
    sizes = [int(labeled * share) for share in SHARES]
    sizes[0] += labeled - sum(sizes)
    sizes.append(rows - labeled)
    shards = link_shards(storage, base, sizes)
    write_table(storage, f"{folder}/shards.parquet", shards, SHARDS_SCHEMA)
    ranges = write_classes(storage, folder, base, sizes[:-1])
    write_index(storage, folder, base, sizes, ranges)
    about = json.loads((base.path / "mixture.json").read_bytes())
    first = np.cumsum([0, *sizes]).tolist()
    for k, source in enumerate(about["datasets"]):
        source |= {"rows": sizes[k], "first_row": first[k], "samples": sizes[k]}
        if k < len(ranges):
            source["labels"] = ranges[k]
    files = ("classes.parquet", "shards.parquet", "index.arrow", "keys.arrow", "by_class.arrow")
    about |= {
        "name": name, "fingerprint": fingerprint(name), "labeled": labeled,
        "unlabeled": rows - labeled, "classes": ranges[-1][1], "class_ranges": ranges,
        "recipe": about["recipe"] | {"name": name},
        "files": {
            file: {
                "sha256": file_sha256(storage.path(f"{folder}/{file}")),
                "size": storage.size(f"{folder}/{file}"),
            }
            for file in files
        },
    }  # fmt: skip
    storage.write(f"{folder}/mixture.json", json.dumps(about).encode())
    return storage.path(folder)


def link_shards(storage, base, sizes):
    """Give each 8,192 rows a shard: the dataset's only one, under another name."""
    rows = []
    for source, size in zip(base.sources, sizes, strict=True):
        only = storage.path(layout.shard(source.name, 0))
        for unit in range(-(-size // UNIT)):
            path = storage.path(layout.shard(source.name, unit))
            if not path.exists():
                os.link(only, path)
            rows.append({
                "shard": len(rows), "path": layout.shard(source.name, unit),
                "sha256": "0" * 64, "size": only.stat().st_size,
            })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SHARDS_SCHEMA)


def write_classes(storage, folder, base, sizes):
    """Write the table of classes; give each dataset's range of labels."""
    parts, ranges, first_row = [], [], 0
    for source, size in zip(base.sources, sizes, strict=False):
        count, first = max(1, size // PER_CLASS), ranges[-1][1] if ranges else 0
        images = np.full(count, size // count)
        images[: size % count] += 1
        starts = first_row + np.cumsum(images) - images
        numbers = np.arange(count)
        columns = {
            "label": first + numbers, "source_index": np.full(count, source.index),
            "dataset": pa.repeat(source.name, count),
            "dataset_index": np.full(count, source.store_index),
            "identity": pa.array(numbers).cast(pa.string()), "identity_index": numbers,
            "name": pa.nulls(count, pa.string()), "images": images, "first_row": starts,
            "datasets": [[source.name]] * count,
        }  # fmt: skip
        parts.append(
            pa.table({f.name: columns[f.name] for f in CLASSES_SCHEMA}).cast(CLASSES_SCHEMA)
        )
        ranges.append([first, first + count])
        first_row += size
    write_table(storage, f"{folder}/classes.parquet", pa.concat_tables(parts), CLASSES_SCHEMA)
    return ranges


def write_index(storage, folder, base, sizes, ranges):
    """Write index, keys and rows by class; labels stand in no order, as in shards."""
    rng, shard = np.random.default_rng(0), 0
    with IndexWriter(storage, folder, sum(sizes)) as writer:
        for source, size in zip(base.sources, sizes, strict=True):
            first, end = ranges[source.index] if source.index < len(ranges) else (-1, 0)
            labels = first + rng.permutation(size) % (end - first)
            for start in range(0, size, PIECE):
                here = np.arange(start, min(start + PIECE, size))
                own = source.first_row + here % source.rows
                digests = np.zeros((len(here), 16), np.uint8)
                digests[:, :8] = base.index.digest[own]
                rows = pa.table({
                    "key": keys(rng, len(here)), "format": pa.repeat("jpg", len(here)),
                    "offset": base.index.offset[own], "length": base.index.length[own],
                    "label": labels[here].astype(np.int32),
                    "source_index": np.full(len(here), source.index, np.int16),
                    "content_digest": pa.Array.from_buffers(
                        pa.binary(16), len(here), [None, pa.py_buffer(digests)]
                    ),
                })  # fmt: skip
                writer.add(rows, (shard + here // UNIT).astype(np.int32))
            shard += -(-size // UNIT)
        writer.finish(labeled=sum(sizes[:-1]))


def keys(rng, count):
    """Keys of the real form: 16 letters and a face number."""
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)
    text = np.full((count, 19), ord("0"), np.uint8)
    text[:, :16] = letters[rng.integers(0, 32, (count, 16), np.uint8)]
    text[:, 16] = ord("_")
    ends = pa.py_buffer(np.arange(0, 19 * count + 1, 19, dtype=np.int32))
    return pa.Array.from_buffers(pa.string(), count, [None, ends, pa.py_buffer(text)])


def line(rows, found):
    balanced = found["balanced_ms"]
    return [
        f"{rows:,}", f"{found['open_s']:.3f}", f"{found['after_mb']['own']:.0f}",
        f"{found['after_mb']['index']:.0f}", *(f"{ms:.2f}" for ms in found["plan_ms"]),
        "" if balanced is None else f"{balanced:.2f}", f"{found['first_s']:.2f}",
        f"{found['restore_ms']:.3f}",
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--quick", action="store_true", help="up to 200,000 rows")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--markdown", action="store_true", help="the section of the docs alone")
    parser.add_argument("--into", type=Path, help="rewrite the section in this document")
    asked = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        storage = make_base(Path(name))
        for rows in [n for n in asked.rows if not asked.quick or n <= 200_000]:
            start = time.perf_counter()
            path = make_big(storage, rows)
            if not asked.markdown:
                print(f"{rows:,}: made in {time.perf_counter() - start:.1f} s", file=sys.stderr)
            done = subprocess.run(
                [sys.executable, OPENING, str(path), str(BATCH)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            figures[rows] = json.loads(done.stdout)
            shutil.rmtree(path)
    imports = statistics.median(found["before_mb"]["own"] for found in figures.values())
    text = (
        f"{machine()}; {versions('fusekit', 'numpy', 'pyarrow', 'torch')}; {today()}.\n"
        f"Batches of {BATCH}, a quarter unlabeled; plans: median of 200. Own memory: pages that the"
        f" process has written, {imports:.0f} MB of them by importing Python, torch and fusekit."
        " Index mapped: clean pages of the index, which ranks share and the system takes back.\n\n"
        f"{table(HEAD, [TARGETS, *(line(rows, found) for rows, found in figures.items())])}\n"
    )
    print(text)
    if asked.into:
        replace_section(asked.into, "scale", text)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
