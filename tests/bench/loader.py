"""Print images per second of the loader, its limit and a peer.

    PYTHONPATH=tests python tests/bench/loader.py

Every row reads and decodes the same JPEG crops of the same shards, page cache warm, with the same
number of threads or worker processes. The limit reads and decodes in the order of the shards
and keeps nothing. The peer is the webdataset library with the same decoder. The runs take turns,
so that other work on the machine falls on all of them.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import torch
import webdataset as wds
from support.stores import make_dataset

from fusekit import Mixture, MixtureLoader, build_mixture
from fusekit.store.layout import open_store

RECIPE = """
name: bench
labeled: [{dataset: bench-labeled}]
unlabeled: [{dataset: bench-crawl}]
batch: {size: 256, unlabeled_fraction: 0.25}
"""


def draw_photo(seed):
    """A crop whose JPEG is as large as a photograph's: smooth shapes under some noise."""
    rng = np.random.default_rng(seed)
    shapes = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (112, 112))
    noise = rng.integers(-11, 12, shapes.shape, dtype=np.int16)
    return cv2.blur(np.clip(shapes + noise, 0, 255).astype(np.uint8), (3, 3))


def make_mixture(folder, count):
    storage = open_store(folder / "store", create=True)
    photos = [
        simplejpeg.encode_jpeg(draw_photo(seed), quality=95, colorsubsampling="444")
        for seed in range(count)
    ]
    people = {f"p{k:04d}": 20 for k in range(count * 3 // 80)}
    labeled = sum(people.values())
    make_dataset(storage, "bench-labeled", people, unit_size=2000, images=photos[:labeled])
    make_dataset(
        storage, "bench-crawl", count - labeled, unit_size=2000, seed=1, images=photos[labeled:]
    )
    recipe = folder / "bench.yaml"
    recipe.write_text(RECIPE)
    build_mixture(recipe, folder / "store")
    return Mixture.open(folder / "store" / "mixtures" / "bench")


def limit(mixture, threads):
    """Read and decode every row once, shard by shard, and keep nothing."""
    index = mixture.index
    files = [os.open(path, os.O_RDONLY) for path in mixture.shard_paths]
    rows = list(
        zip(index.shard.tolist(), index.offset.tolist(), index.length.tolist(), strict=True)
    )

    def work(part):
        out = np.empty((112, 112, 3), np.uint8)
        for shard, offset, length in part:
            data = os.pread(files[shard], length, offset)
            simplejpeg.decode_jpeg(data, "RGB", buffer=out)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [rows[k::threads] for k in range(threads)]))
    for file in files:
        os.close(file)
    return len(rows)


def webdataset_loader(mixture, workers):
    def crop(sample):
        image = simplejpeg.decode_jpeg(sample["jpg"], "RGB")
        return image, json.loads(sample["json"])["identity_index"]

    data = wds.WebDataset(
        [str(path) for path in mixture.shard_paths], shardshuffle=False, empty_check=False
    )
    loader = torch.utils.data.DataLoader(
        data.shuffle(1000).map(crop), batch_size=256, num_workers=workers
    )
    return sum(len(labels) for _, labels in loader)


def measure(runs, repeats):
    """Give the median images per second and CPU microseconds per image of each run."""
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            wall, used = time.perf_counter(), sum(os.times()[:4])
            count = run()
            wall, used = time.perf_counter() - wall, sum(os.times()[:4]) - used
            times[name].append((count / wall, used / count * 1e6))
    return {
        name: [statistics.median(column) for column in zip(*found, strict=True)]
        for name, found in times.items()
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    n = args.threads
    with tempfile.TemporaryDirectory() as folder:
        mixture = make_mixture(Path(folder), args.images)
        limit(mixture, n)  # warms the page cache
        with (
            MixtureLoader(mixture, 256, threads=n, layout="hwc") as hwc,
            MixtureLoader(mixture, 256, threads=n, layout="chw") as chw,
        ):
            for _ in zip(hwc, chw, strict=True):  # from here on each epoch finds batches ahead
                pass
            runs = {
                "limit: read and decode only": lambda: limit(mixture, n),
                "MixtureLoader, hwc": lambda: sum(map(len, hwc)),
                "MixtureLoader, chw": lambda: sum(map(len, chw)),
                "webdataset, in process": lambda: webdataset_loader(mixture, 0),
                f"webdataset, {n} processes": lambda: webdataset_loader(mixture, n),
            }
            found = measure(runs, args.repeats)
        print(
            f"{args.images:,} JPEG crops of {mixture.index.length.mean() / 1024:.1f} KiB on"
            f" average, batches of 256, {n} threads, median of {args.repeats}"
        )
        print(f"{'':30} {'images/s':>9} {'of limit':>9} {'CPU us/image':>13}")
        top = next(iter(found.values()))[0]
        for name, (rate, cpu) in found.items():
            print(f"{name:30} {rate:9,.0f} {rate / top:9.2f} {cpu:13.1f}")


if __name__ == "__main__":
    main()
