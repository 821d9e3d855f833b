"""One line of ``bench/scale.py``, in a process that imports nothing but what a trainer has.

python tests/support/bench_opening.py MIXTURE BATCH
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch  # noqa: F401 - a trainer has it anyway: not a part of opening

from fusekit import MixtureLoader

STEPS = (0, 10**6, 10**12)


def memory_mb():
    """Memory that no other process shares at this moment, in three parts.

    Returns:
        Pages that were written, which are this process's own; clean pages of the index and clean
        pages of all other files, which are the page cache's: another rank that reads the same
        ones shares them, and the system may take them back.
    """
    parts = {"own": 0, "index": 0, "files": 0}
    clean = "files"
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "Private_Dirty":
            parts["own"] += int(value.split()[0])
        elif name == "Private_Clean":
            parts[clean] += int(value.split()[0])
        elif "-" in name.partition(" ")[0]:  # the head of the next mapping
            clean = "index" if line.endswith(".arrow") else "files"
    return {name: size / 1024 for name, size in parts.items()}


def milliseconds(work, repeats):
    times = []
    for turn in range(repeats):
        start = time.perf_counter()
        work(turn)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def measure(path, batch):
    """Give one line's figures, in this process."""
    before = memory_mb()
    start = time.perf_counter()
    loader = MixtureLoader(path, batch)
    opened = time.perf_counter() - start
    start = time.perf_counter()
    next(iter(loader))
    first = time.perf_counter() - start
    plans = [milliseconds(lambda t, s=step: loader.plan(s + t), 200) for step in STEPS]
    after = memory_mb()
    loader.set_epoch(1)
    state = loader.state_dict()
    loader.set_epoch(0)
    restore = milliseconds(lambda _: loader.load_state_dict(state), 20)
    balanced = None
    try:
        pairs = MixtureLoader(path, batch, sampler={"identities": batch * 3 // 16, "images": 4})
    except TypeError:
        pass  # a release without it
    else:
        balanced = milliseconds(lambda t: pairs.plan(10**6 + t), 200)
        pairs.close()
    loader.close()
    return {
        "open_s": opened, "before_mb": before, "after_mb": after, "plan_ms": plans,
        "balanced_ms": balanced, "first_s": first, "restore_ms": restore,
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
