"""Read a remote mixture's rows through RemoteShards, in a process that a test may kill.

``python shard_reader.py URL CACHE_BYTES CACHE_FOLDER RANK WORLD BATCH [SECONDS_A_STEP]`` reads
every row once in shuffled order, checks each against the index, and prints the figures.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from fusekit.loader.remote.settings import RemoteSettings
from fusekit.loader.remote.shards import RemoteShards
from fusekit.mixture.mixture import Mixture
from fusekit.storage.retry import Retry

QUICK = Retry(tries=6, first_s=0.02, most_s=0.2, total_s=20)


class Steps:
    """Rows of each step: all rows once, in windows of ``window`` rows that are shuffled."""

    def __init__(self, mixture, batch, rank=0, world=1, window=64, passes=1):
        self.index = mixture.index
        rng = np.random.default_rng(7)
        rows = np.arange(len(self.index))
        order = []
        for _ in range(passes):
            for start in range(0, len(rows), window):
                part = rows[start : start + window].copy()
                rng.shuffle(part)
                order.append(part)
        order = np.concatenate(order)
        self.steps = [
            order[start : start + batch][rank::world] for start in range(0, len(order), batch)
        ]

    def __len__(self):
        return len(self.steps)

    def upcoming(self, step):
        rows = self.steps[step] if step < len(self.steps) else np.empty(0, np.int64)
        return self.index.shard[rows].astype(np.int64)

    def ranges(self, step):
        index = self.index
        return [
            (int(index.shard[r]), int(index.offset[r]), int(index.length[r]), index.digest[r])
            for r in self.steps[step]
        ]


def read_all(shards, steps, pause_s=0.0, *, many=False):
    """Read every row of every step; the number of rows whose bytes are right."""
    right = 0
    for step in range(len(steps)):
        shards.at(step)
        ranges = steps.ranges(step)
        if many:
            found = shards.gather([each[:3] for each in ranges])
        else:
            found = [shards.read(*each[:3]) for each in ranges]
        for data, each in zip(found, ranges, strict=True):
            right += hashlib.sha256(data).digest()[:8] == each[3].tobytes()
        time.sleep(pause_s)
    return right


def main(url, cache, folder, rank, world, batch, pause_s="0"):
    mixture = Mixture.open(url)
    steps = Steps(mixture, int(batch), int(rank), int(world))
    settings = RemoteSettings(cache=int(cache), folder=Path(folder), at_once=2, retry=QUICK)
    shards = RemoteShards(mixture, steps.upcoming, settings)
    print("reading", flush=True)
    right = read_all(shards, steps, float(pause_s))
    print(json.dumps({"right": right, **shards.figures()}))
    shards.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
