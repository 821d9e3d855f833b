"""The orders in which the peers hand out rows, by their own code, from sizes of shards alone.

    python tests/bench/peers/orders.py FOLDER ROWS SHARD

Writes a ``.npy`` of row numbers for each shuffle into FOLDER, and ``orders.json`` with their
titles and, where a peer's code could not run, its error. One process reads, no worker processes:
with more of them each worker's stream is such a shuffle of a part of the shards.
"""

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np

SEED = 1


def webdataset(ends, buffer):
    """``WebDataset(shardshuffle=100)`` and ``.shuffle(buffer)``."""
    from webdataset.filters import shuffle

    shards = shuffle(100, seed=SEED)(iter(range(len(ends))))
    rows = (row for shard in shards for row in range(*span(ends, shard)))
    return shuffle(buffer, seed=SEED)(rows)


def mosaic(ends, algorithm, block):
    """``StreamingDataset(shuffle=True, shuffle_algo=...)`` on one canonical node."""
    import with_mosaic  # noqa: F401 - puts the modules that streaming wants in place
    from streaming.base.shuffle import get_shuffle

    sizes = np.diff([0, *ends])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_shuffle(algorithm, sizes, 1, SEED, 0, block)


def litdata(ends, window):
    """``StreamingDataset(shuffle=True)``: chunks shuffled, then blocks and items in each."""
    from litdata.streaming.shuffle import FullShuffle
    from litdata.utilities.env import _DistributedEnv

    spans = [(*span(ends, k)[:1], *span(ends, k), span(ends, k)[1]) for k in range(len(ends))]
    chunks = [{"chunk_bytes": 1} for _ in spans]
    reader = SimpleNamespace(_config=SimpleNamespace(_chunks=chunks), _max_cache_size=1 << 40)
    cache = SimpleNamespace(get_chunk_intervals=lambda: spans, _reader=reader)
    shuffle = FullShuffle(cache, SEED, drop_last=False, item_window=window)
    order, _ = shuffle.get_chunks_and_intervals_per_workers(_DistributedEnv(1, 0, 1), 1, 512, 1)
    for chunk in order[0]:
        yield from shuffle(np.arange(*span(ends, chunk)), len(ends), 1, int(chunk))


def huggingface(ends, buffer):
    """``IterableDataset.shuffle(buffer_size=...)`` over files."""
    from datasets import IterableDataset

    def rows(shards):
        for shard in shards:
            for row in range(*span(ends, shard)):
                yield {"row": row}

    data = IterableDataset.from_generator(rows, gen_kwargs={"shards": list(range(len(ends)))})
    return (each["row"] for each in data.shuffle(seed=SEED, buffer_size=buffer))


def span(ends, shard):
    return (int(ends[shard - 1]) if shard else 0), int(ends[shard])


CASES = (
    ("webdataset, buffer 1,000", webdataset, (1000,)),
    ("webdataset, buffer 10,000", webdataset, (10_000,)),
    ("HF datasets stream, buffer 1,000", huggingface, (1000,)),
    ("HF datasets stream, buffer 10,000", huggingface, (10_000,)),
    ("LitData, default (blocks of 256)", litdata, (256,)),
    ("LitData, item_shuffle_window=0", litdata, (0,)),
    ("Mosaic py1s", mosaic, ("py1s", 1 << 18)),
    ("Mosaic py1br, block 2^18", mosaic, ("py1br", 1 << 18)),
    ("Mosaic py1e, block 2^18", mosaic, ("py1e", 1 << 18)),
)


def main(folder, rows, shard):
    ends = np.minimum(np.arange(shard, rows + shard, shard), rows)
    about = []
    for number, (title, run, more) in enumerate(CASES):
        error = None
        try:
            given = run(ends, *more)
            # An array, or an iterator of numbers.
            order = given if isinstance(given, np.ndarray) else np.fromiter(given, np.int64)
            np.save(folder / f"{number}.npy", order)
        except Exception as problem:  # noqa: BLE001 - a line of the table says it
            error = f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}"
        about.append({"title": title, "file": f"{number}.npy", "error": error})
    (folder / "orders.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
