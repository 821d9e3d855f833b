"""Statistics of a dataset of 20 million samples: how long, and how much memory.

The manifests are drawn: only the columns that are counted, in files of a million rows.
"""

import argparse
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.stores import make_dataset

from fusekit.report.stats import collect_stats
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store.layout import open_store

_ROWS = 1_000_000
_IDENTITIES = 1_000_000


def write_rows(path: Path, seed: int) -> None:
    """Write a million rows in the place of a drawn dataset's few."""
    rng = np.random.default_rng(seed)
    drawn = {
        "identity_index": (rng.pareto(1.2, _ROWS) * 2000).astype(np.int64) % _IDENTITIES,
        "length": np.full(_ROWS, 4000), "eye_distance": rng.gamma(4, 15, _ROWS),
        "yaw": rng.normal(0, 25, _ROWS), "sharpness": rng.gamma(2, 300, _ROWS),
        "brightness": rng.normal(120, 30, _ROWS), "jpeg_quality": rng.integers(60, 100, _ROWS),
        "det_score": rng.random(_ROWS), "channels": np.where(rng.random(_ROWS) < 0.05, 1, 3),
    }  # fmt: skip
    columns = {
        n: pa.array(v).cast(MANIFEST_SCHEMA.field(n).type, safe=False) for n, v in drawn.items()
    }
    columns |= {n: pa.repeat(v, _ROWS) for n, v in
                (("split", "train"), ("media", "still"), ("format", "jpg"))}  # fmt: skip
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=122_880)


def write_store(folder: str, millions: int) -> None:
    """Write the store of a dataset with so many million rows."""
    storage = open_store(f"{folder}/store", create=True)
    make_dataset(storage, "big", {"ann": 1})
    file = storage.path("datasets/big/samples-000000.parquet")
    write_rows(file, 0)
    one = pq.read_table(file, partitioning=None)
    with pq.ParquetWriter(file, one.schema, compression="zstd") as out:
        for _ in range(millions):
            out.write_table(one, row_group_size=122_880)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=int, default=20)
    millions = parser.parse_args().millions
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, so that the peak is of counting alone.
        writer = get_context("spawn").Process(target=write_store, args=(folder, millions))
        writer.start()
        writer.join()
        started = time.monotonic()
        stats = collect_stats("big", f"{folder}/store", memory_limit="1GB")
        seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("samples      identities   seconds   million rows/s   peak memory")
    print(
        f"{stats.samples:<12,} {stats.depth.identities:<12,} {seconds:<9.1f} "
        f"{stats.samples / seconds / 1e6:<16.1f} {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
