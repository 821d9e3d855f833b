"""Measure the overlap: its search, its memory, its decisions on drawn and on real people.

    python tests/bench/overlap.py                 the search beside faiss, growth, extrapolation
    python tests/bench/overlap.py --drawn         precision and recall over --false-match
    python tests/bench/overlap.py --real STORE    the real store: a copy of it is searched
    python tests/bench/overlap.py --whole         the whole command, --people over two datasets

faiss is no dependency: ``pip install faiss-cpu`` adds its column. Times are of the processor, so
that a busy machine changes them little; with OMP_NUM_THREADS=1 they are those of one core.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.benchmarks import machine, table, today, versions
from support.overlaps import draw_overlap, identities_of, judge

from fusekit.curate.embeddings import open_embeddings
from fusekit.curate.names import match_names, person_name
from fusekit.curate.overlap import find_overlap
from fusekit.curate.search import nearest, nearest_both
from fusekit.curate.templates import make_templates
from fusekit.curate.thresholds import template_strangers
from fusekit.progress import silent
from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import list_datasets, open_dataset
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table

DIM = 512
K = 5
MILLION = 1_000_000
RATES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10)
HELD_OUT = (1e-3, 1e-4, 1e-5, 1e-6)
NAMED = ("pins", "glint", "five", "lfw")


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--drawn", action="store_true")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=DIM, help="of --whole")
    parser.add_argument("--child", nargs=2, metavar=("KIND", "COUNT"))
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], int(asked.child[1]), asked.store)
        return
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"{today()}: {machine()}; {versions('numpy')}; {threads} threads\n")
    if asked.real:
        real(asked.real)
    elif asked.drawn:
        drawn()
    elif asked.whole:
        whole(asked.people, asked.dim)
    else:
        search(asked.people)


def search(people: int) -> None:
    """Print the search beside plain products and faiss, then its growth up to ``people``."""
    rows = [beside(size) for size in (10_000, 20_000, 40_000)]
    head = ["10,000 against", "product alone", "one way", "faiss", "both ways", "faiss twice"]
    print(table(head, rows) + "\n")
    rows = []
    for samples in (10_000, 20_000, 40_000):
        seconds, peak = run_child("templates", samples)
        rows.append([f"{samples:,}", f"{seconds:.1f} s", f"{peak:.2f} GB"])
    print(table(["templates of samples, 4 an identity", "time", "peak"], rows) + "\n")
    rows, seconds = [], 0.0
    for count in (people // 4, people):
        seconds, peak = run_child("search", count)
        rate = 2 * count * count * DIM / seconds / 1e9
        rows.append([f"{count:,} x {count:,}", f"{seconds:.0f} s", f"{rate:.0f}", f"{peak:.2f} GB"])
    print(table(["both ways, D = 512", "time", "GFlop/s", "peak"], rows))
    hours = seconds * (MILLION / people) ** 2 / 3600
    print(f"\n1,000,000 x 1,000,000 at this rate: {hours:.1f} hours of one core")


def beside(count: int) -> list[str]:
    """Time 10,000 queries against ``count`` centres: product, nearest, faiss."""
    queries, centres = unit(10_000, 1), unit(count, 2)
    started = time.process_time()
    for begin in range(0, len(queries), 1_024):
        queries[begin : begin + 1_024] @ centres.T
    product = time.process_time() - started
    started = time.process_time()
    mine = nearest(queries, centres, K)
    one_way = time.process_time() - started
    started = time.process_time()
    nearest_both(queries, centres, K)
    both_ways = time.process_time() - started
    faiss, faiss_twice = beside_faiss(queries, centres, mine.index)
    seconds = [product, one_way, faiss, both_ways, faiss_twice]
    return [f"{count:,}", *("-" if s is None else f"{s:.2f} s" for s in seconds)]


def beside_faiss(queries, centres, index) -> tuple[float | None, float | None]:
    """Time faiss on the same, one way and then back too; None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None, None
    started = time.process_time()
    theirs = faiss.knn(queries, centres, K, metric=faiss.METRIC_INNER_PRODUCT)
    one_way = time.process_time() - started
    faiss.knn(centres, queries, K, metric=faiss.METRIC_INNER_PRODUCT)
    agree = (theirs[1] == index).mean()
    if agree < 0.9999:
        raise SystemExit(f"faiss finds others: only {agree:.4%} agree")
    return one_way, time.process_time() - started


def whole(people: int, dim: int) -> None:
    """Print the time and the memory of the command, of a tenth and of all of the people."""
    rows = []
    for count in (people // 10, people):
        with tempfile.TemporaryDirectory() as top:
            storage = open_store(top, create=True)
            shared, each = count // 20, count // 2
            truth = draw_overlap(storage, {"a": each, "b": each}, shared=shared, dim=dim, images=2)
            seconds, peak = run_child("whole", count, top)
            finding = find_fresh(storage, "overlap", datasets=["a", "b"])
            pairs = read_finding_table(storage, finding)
        found = judge(pairs, truth, "same")
        rows.append(
            [f"2 x {each:,}", f"{seconds:.0f} s", f"{peak:.2f} GB", f"{pairs.num_rows:,}",
             f"{found.right:,} of {len(truth):,}", str(found.wrong)]
        )  # fmt: skip
    head = [f"identities, 2 images, D = {dim}", "time", "peak", "pairs listed", "found", "wrong"]
    print("the whole command with its JSON; the rate expects one pair of strangers\n")
    print(table(head, rows))


def child(kind: str, count: int, store: Path | None) -> None:
    """Do one piece of work and print its seconds; the parent reads the memory."""
    if kind == "whole":
        started = time.process_time()
        result = find_overlap(["a", "b"], false_match=4 / count**2, store=store)
        json.dumps(result.as_json())
    elif kind == "search":
        left, right = unit(count, 1), unit(count, 2)
        started = time.process_time()
        nearest_both(left, right, K)
    else:
        with tempfile.TemporaryDirectory() as top:
            storage = open_store(top, create=True)
            draw_overlap(storage, {"a": count // 4}, shared=0, dim=DIM, images=4)
            sets = open_embeddings(storage, [open_dataset(storage, "a")], None, None, silent)
            started = time.process_time()
            make_templates(storage, sets[0])
            print(time.process_time() - started)
            return
    print(time.process_time() - started)


def run_child(kind: str, count: int, store: str | None = None) -> tuple[float, float]:
    """Give the seconds and the peak memory in GB of one piece of work in its own process."""
    line = [sys.executable, __file__, "--child", kind, str(count)]
    line += [] if store is None else ["--store", store]
    done = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    text = done.stdout.read()
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise SystemExit(f"{kind} {count} ended with status {status}")
    return float(text), usage.ru_maxrss * 1024 / 1e9


def unit(count: int, seed: int) -> np.ndarray:
    """Draw unit rows."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def drawn() -> None:
    """Print precision and recall over the rate, with 50 shared people of 1,000 and 500."""
    with tempfile.TemporaryDirectory() as top:
        storage = open_store(top, create=True)
        truth = draw_overlap(storage, {"a": 1_000, "b": 500}, shared=50, spread=1.1)
        rows = []
        for rate in RATES:
            result = find_overlap(["a", "b"], false_match=rate, store=top)
            same, unsure = (judge(result.table, truth, which) for which in ("same", "unsure"))
            precision, recall = same.precision, same.recall
            rows.append(
                [f"{rate:g}", f"{result.compared[0].limits.same:.3f}", f"{precision:.3f}",
                 f"{recall:.3f}", str(same.wrong), str(unsure.right), str(unsure.wrong)]
            )  # fmt: skip
    head = ["rate", "same above", "precision", "recall", "wrong", "unsure: same", "not"]
    print("50 people of both, among 1,000 and 500; 1 to 8 noisy images each, no names\n")
    print(table(head, rows))


def real(store: Path) -> None:
    """Print what is found in the real store, against the names."""
    with tempfile.TemporaryDirectory() as top:
        copy = Path(shutil.copytree(store, Path(top, "store")))
        storage = open_store(copy)
        names = {d.name: names_of(storage, d.name) for d in list_datasets(storage) if d.identities}
        truth = {
            (a, b, left, right)
            for a in NAMED for b in NAMED if a < b
            for left, right in named_pairs(names[a], names[b])
        }  # fmt: skip
        rows = []
        for rate in RATES:
            result = find_overlap(NAMED, false_match=rate, store=copy)
            same, unsure = (judge(result.table, truth, which) for which in ("same", "unsure"))
            rows.append(
                [f"{rate:g}", str(len(truth)), str(same.right), str(unsure.right),
                 str(same.missed - unsure.right), str(same.wrong), str(unsure.wrong)]
            )  # fmt: skip
        head = ["rate", "same-named", "same", "unsure", "missed", "others same", "others unsure"]
        print(f"{', '.join(NAMED)}: pairs of identities of one name, and what is said of them\n")
        print(table(head, rows) + "\n")
        result = find_overlap(sorted(names), store=copy)
        named_result(result, truth)
        held_out(storage)


def held_out(storage) -> None:
    """Print the rates that thresholds of some LFW identities have among all of its pairs."""
    embeddings = open_embeddings(storage, [open_dataset(storage, "lfw")], None, None, silent)[0]
    every = make_templates(storage, embeddings)
    count = len(every.centres)
    cosines = np.sort((every.centres @ every.centres.T)[np.triu_indices(count, 1)])
    rows = []
    for size in (100, 300, 1_000):
        shares = []
        for draw in range(12):
            chosen = np.sort(np.random.default_rng(draw).choice(count, size, replace=False))
            part = replace(
                every, centres=every.centres[chosen], of_identity=every.of_identity[chosen]
            )
            found = template_strangers([part])
            shares.append(
                [1 - np.searchsorted(cosines, found.threshold(r)) / len(cosines) for r in HELD_OUT]
            )
        low, middle, high = (each(shares, axis=0) for each in (np.min, np.median, np.max))
        figures = zip(middle, low, high, strict=True)
        rows.append([f"{size:,}", *(f"{m:.1e} ({a:.0e}..{b:.0e})" for m, a, b in figures)])
    print("\nLFW: true rate of thresholds fitted to some identities; median (worst) of 12 draws\n")
    print(table(["identities", *(f"{rate:g}" for rate in HELD_OUT)], rows))


def named_result(result, truth) -> None:
    """Print every pair at the default rate that the names alone do not explain."""
    print("all datasets at the default rate: what no equal name explains\n")
    for row in result.table.to_pylist():
        pair = identities_of(row)
        if row["decision"] == "same" and pair not in truth:
            spelt = [
                f"{dataset}/{result.names.get((dataset, identity), identity)}"
                for dataset, identity in ((row[f"dataset_{s}"], row[f"identity_{s}"]) for s in "ab")
            ]
            print(f"  {' = '.join(spelt)}  {row['score']:.3f}  {row['votes']}/{row['compared']}")
    for pair in sorted(truth):
        found = [r for r in result.table.to_pylist() if identities_of(r) == pair]
        if not found or found[0]["decision"] != "same":
            print(f"  not the same: {pair}: {found[0]['decision'] if found else 'not listed'}")


def names_of(storage, dataset: str) -> dict[str, str]:
    """Give identity to the name by which it is known."""
    rows = read_table(storage, layout.identities(dataset), IDENTITIES_SCHEMA).to_pylist()
    spelt = {row["identity"]: person_name(row["identity"], row["name"]) for row in rows}
    return {identity: name for identity, name in spelt.items() if name is not None}


def named_pairs(left: dict[str, str], right: dict[str, str]) -> list[tuple[str, str]]:
    """Give the pairs of identities of one name."""
    a, b = list(left), list(right)
    found = match_names(list(left.values()), list(right.values()))
    return [(a[i], b[j]) for i, j in found]


if __name__ == "__main__":
    main()
