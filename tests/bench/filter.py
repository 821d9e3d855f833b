"""How fast is the filter beside its matrix products alone, and what memory does it take?

    PYTHONPATH=tests python tests/bench/filter.py [--threads 1 2] [--into docs/benchmarks.md]

Prints the rate of the bare products (the same sizes, blocks, cores and type), the filter's, and
their ratio: the median over repeats in which the two take turns. Then the largest memory of fresh
processes at growing numbers of samples and of classes, and the hours of 5 million x 1 million.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
from support.benchmarks import machine, replace_section, table, today, versions

from fusekit.curate.products import multiplying, round_to_bf16
from fusekit.curate.scores import CLASS_BLOCK, SAMPLE_BLOCK, KnownPeople, score

HOURS = "hours of 5 million x 1 million"
BIG = (5_000_000, 1_000_000)
GROWING = [(2_048, 20_000), (8_192, 20_000), (16_384, 20_000), (2_048, 80_000), (2_048, 160_000)]
SCALE = 32.0


def draw(rows, dim, seed):
    """Unit vectors (rows, dim), made in place: the drawing must not be the largest memory."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), np.float32)
    for begin in range(0, rows, 4_096):
        part = vectors[begin : begin + 4_096]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def people(classes, dim):
    return KnownPeople(draw(classes, dim, 1), (("a", 0, classes),), np.array([SCALE]), ())


def timed(work):
    """Seconds of the wall and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def products(vectors, centres, precision):
    """Nothing but the products, into one block."""
    out = np.empty((min(SAMPLE_BLOCK, len(vectors)), CLASS_BLOCK), np.float32)
    with multiplying(precision) as multiply:
        for a in range(0, len(vectors), SAMPLE_BLOCK):
            left = vectors[a : a + SAMPLE_BLOCK]
            for b in range(0, len(centres), CLASS_BLOCK):
                right = centres[b : b + CLASS_BLOCK]
                multiply(left, right, out[: len(left), : len(right)])


def compare(samples, classes, dim, precision, repeats):
    """Flops a second of the products and of the filter, and the ratio of their times."""
    vectors, known = draw(samples, dim, 0), people(classes, dim)
    factors = vectors
    if precision == "bf16":
        known, factors = known.rounded(), round_to_bf16(vectors)
    products(factors[:SAMPLE_BLOCK], known.centres, precision)
    score(vectors[:SAMPLE_BLOCK], known, precision=precision)
    bare, ours = [], []
    for _ in range(repeats):
        bare.append(timed(lambda: products(factors, known.centres, precision)))
        ours.append(timed(lambda: score(vectors, known, precision=precision)))
    work = 2 * samples * classes * dim
    ratios = [
        statistics.median(b[at] / o[at] for b, o in zip(bare, ours, strict=True)) for at in (0, 1)
    ]
    return {
        "products": work / statistics.median(wall for wall, _ in bare),
        "filter": work / statistics.median(wall for wall, _ in ours),
        "ratio": ratios[0], "cpu": ratios[1],
    }  # fmt: skip


def measure_peak(samples, classes, dim):
    """Largest memory of this process while it scores, less its inputs and imports, in MiB."""
    vectors, known = draw(samples, dim, 0), people(classes, dim)
    score(vectors[:2], people(2, dim))  # what libraries take once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    score(vectors, known)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def apart(function, *arguments, threads=None):
    """Call a function of this file in a process of its own, with so many threads."""
    here = Path(__file__).parent
    code = (
        "import json, sys; sys.path[:0] = json.loads(sys.argv[1]); import filter\n"
        "print(json.dumps(getattr(filter, sys.argv[2])(*json.loads(sys.argv[3]))))"
    )
    folders = json.dumps([str(here), str(here.parent)])
    env = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    done = subprocess.run(
        [sys.executable, "-c", code, folders, function.__name__, json.dumps(arguments)],
        check=True, stdout=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=8_192)
    parser.add_argument("--classes", type=int, default=90_000)
    parser.add_argument("--dim", type=int, nargs="+", default=[512, 128])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--into", type=Path, help="a document with a section bench:filter")
    asked = parser.parse_args()
    rows = []
    for threads, precision, dim in product(asked.threads, asked.precision, asked.dim):
        size = (asked.samples, asked.classes, dim, precision, asked.repeats)
        found = apart(compare, *size, threads=threads)
        hours = 2 * BIG[0] * BIG[1] * dim / found["filter"] / 3600
        rows.append([
            f"{precision}, {dim} numbers", str(threads), f"{found['products'] / 1e9:.0f}",
            f"{found['filter'] / 1e9:.0f}", f"{found['ratio']:.2f}", f"{found['cpu']:.2f}",
            f"{hours:.0f}",
        ])  # fmt: skip
    head = ["", "threads", "products, GFLOP/s", "filter", "ratio", "of CPU time", HOURS]
    text = (
        f"{machine()}; {versions('fusekit', 'numpy')}; {today()}.\n"
        f"{asked.samples:,} samples x {asked.classes:,} classes; medians of {asked.repeats}, "
        f"products and filter in turns.\n\n{table(head, rows)}\n"
    )
    if not asked.no_memory:
        grown = [[f"{n:,} x {c:,}", f"{apart(measure_peak, n, c, 128):.0f}"] for n, c in GROWING]
        dense = max(n * c for n, c in GROWING) * 4 / 2**20
        text += (
            "\nLargest memory beside the embeddings and the centres (128 numbers; the table of "
            f"the largest case would be {dense:,.0f} MiB):\n\n"
            f"{table(['samples x classes', 'MiB'], grown)}\n"
        )
    print(text)
    if asked.into:
        replace_section(asked.into, "filter", text)


if __name__ == "__main__":
    main()
