"""Measure cleaning and clustering: real noise, injected noise, people without labels, speed.

    python tests/bench/label_noise.py [real] [injected] [clusters] [speed] [million] [--store STORE]

STORE is a store of real datasets with embeddings as tests/support/real_store.py makes it; it is
copied, never written to. Without one it is made from ../shared.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.benchmarks import machine, table
from support.people import make_people
from support.real_store import copy_store, make_real_store

from fusekit.curate.clusters import NEIGHBOURS, cluster_dataset
from fusekit.curate.graph import Graph, exact_rows, similarity_graph
from fusekit.curate.label_noise import find_label_noise
from fusekit.curate.metrics import score_clusters
from fusekit.curate.whispers import number_by_size, whisper
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.findings import find_fresh, read_finding_table
from fusekit.store.layout import open_store

LABELED = ["pins", "glint", "celeba", "five", "lfw"]
SHARES = [0.05, 0.1, 0.2]
SIZES = [10_000, 20_000, 40_000]
DIM = 128


def real(store: Path, _: Path) -> str:
    """Label noise of each real dataset."""
    rows = []
    for name in LABELED:
        result = find_label_noise(name, store=store)
        rows.append([
            name, f"{result.samples:,}", f"{result.identities:,}", str(result.outliers),
            str(result.split_samples), str(len(result.split)), str(result.mislabeled),
            str(result.dropped), str(result.unsure), f"{result.seconds:.1f}",
        ])  # fmt: skip
    head = ["dataset", "samples", "identities", "outliers", "split", "in identities",
            "mislabeled", "dropped", "unsure", "s"]  # fmt: skip
    return table(head, rows)


def injected(store: Path, folder: Path) -> str:
    """Wrong labels put into Pins: half of them its own people's, half strangers' from CelebA."""
    people, strangers = embeddings_of(store, "pins"), embeddings_of(store, "celeba")
    strangers = np.concatenate(list(strangers.values()))
    clean = find_label_noise("pins", store=store)
    before = {row["key"] for row in rows_of(store, "pins")}
    rows = [["0 %", "0", "-", "-", "-", "-", str(clean.dropped), str(len(before))]]
    for share in SHARES:
        noisy, wrong = inject(people, strangers, share, np.random.default_rng(round(share * 100)))
        path = folder / f"injected-{share}"
        storage = open_store(path, create=True)
        info = make_people(storage, "noisy", noisy, unit_size=1024)
        find_label_noise("noisy", store=path)
        rows.append([f"{share:.0%}", f"{len(wrong):,}", *judge(path, storage, info, wrong)])
    head = ["injected", "samples", "strangers found", "others' found", "others' named",
            "dropped that are injected", "others dropped", "others flagged"]  # fmt: skip
    return table(head, rows)


def clusters(store: Path, _: Path) -> str:
    """People of the real datasets, found without their labels."""
    rows = []
    for name in LABELED:
        for method in ("whispers", "infomap", "hdbscan"):
            result = cluster_dataset(name, method=method, truth="identity", store=store)
            s = result.scores
            rows.append([
                f"{name}, {method}", *(f"{value:.3f}" for value in (
                    s.pairwise_precision, s.pairwise_recall, s.pairwise_f,
                    s.bcubed_precision, s.bcubed_recall, s.bcubed_f)),
                f"{s.people:,}", f"{s.clusters:,}", f"{result.seconds:.1f}",
            ])  # fmt: skip
    head = ["", "pair P", "pair R", "pair F", "B³ P", "B³ R", "B³ F", "people", "clusters", "s"]
    return table(head, rows)


def speed(_: Path, __: Path) -> str:
    """Drawn crawls of 20 images a person: time and memory, each in a process of its own."""
    rows, times = [], {}
    for size in SIZES:
        asked = [sys.executable, __file__, "--one", str(size)]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
        search, walk, memory, score = map(float, said)
        times[size] = (search, walk, memory)
        rows.append([f"{size:,}", f"{search:.1f}", f"{walk:.1f}", f"{memory:.2f}", f"{score:.4f}"])
    (search, walk, memory), size = times[SIZES[-1]], SIZES[-1]
    grown = 1_000_000 / size
    rows.append([
        "1,000,000 (extrapolated)", f"{search * grown**2:,.0f}", f"{walk * grown:.0f}",
        f"{memory * grown:.1f}", "-",
    ])  # fmt: skip
    head = [f"samples of {DIM} numbers", "search s (square)", "whispers s", "peak GB", "B³ F"]
    return table(head, rows)


def million(_: Path, __: Path) -> str:
    """Chinese whispers alone, on a graph of a million nodes with 45 edges each."""
    asked = [sys.executable, __file__, "--million"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return table(["nodes", "edges", "s", "passes", "peak GB", "B³ F"], [["1,000,000", *said]])


def whisper_million() -> None:
    """People of 40 images that are all connected, and six edges to strangers each."""
    count, images = 1_000_000, 40
    node = np.arange(count, dtype=np.int32)[:, None]
    inside = (node // images) * images + np.arange(images, dtype=np.int32)
    inside = inside[inside != node].reshape(count, -1)
    shifts = np.array([s * way for s in (777, 54_321, 333_333) for way in (1, -1)], np.int32)
    neighbours = np.sort(np.concatenate([inside, (node + shifts) % count], axis=1), axis=1)
    weights = 0.4 + ((node ^ neighbours) % 61).astype(np.float32) / 200  # alike at both ends
    starts = np.arange(count + 1, dtype=np.int64) * neighbours.shape[1]
    graph = Graph(starts, neighbours.ravel().astype(np.int32), weights.ravel())
    del inside, neighbours, weights
    started = time.monotonic()
    found = whisper(graph)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    score = score_clusters(number_by_size(found.labels)[0], np.arange(count) // images).bcubed_f
    edges = len(graph.neighbours)
    print(f"{edges:,} {seconds:.1f} {found.passes} {peak:.1f} {score:.4f}")


def one(size: int) -> None:
    """Cluster one drawn crawl, and print seconds, peak memory and B-cubed F."""
    rng = np.random.default_rng(0)
    truth = np.arange(size) // 20
    people = rng.standard_normal((size // 20, DIM), np.float32)
    vectors = people[truth] + 0.9 * rng.standard_normal((size, DIM), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = exact_rows(vectors)
    started = time.monotonic()
    graph = similarity_graph(vectors, np.array([0, size]), 0.42, NEIGHBOURS)
    searched = time.monotonic()
    labels = whisper(graph).labels
    done = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    score = score_clusters(number_by_size(labels)[0], truth).bcubed_f
    print(searched - started, done - searched, peak, score)


def embeddings_of(store: Path, name: str) -> dict[str, np.ndarray]:
    """Embeddings of each identity of a dataset."""
    found = EmbeddingSet.open(open_store(store), open_dataset(open_store(store), name))
    blocks = list(found.blocks())
    vectors = np.concatenate([block.vectors for block in blocks])
    index = np.concatenate([block.identity_index for block in blocks])
    return {f"{i:05d}": vectors[index == i] for i in np.unique(index)}


def inject(people, strangers, share, rng):
    """Give identities wrong samples, one a share of their own.

    Returns:
        The people; and (identity, number in it) of each wrong sample to whose it is (None: a
        stranger's).
    """
    noisy, wrong = {}, {}
    names = sorted(people)
    for identity in names:
        own, more = people[identity], []
        for k in range(round(share * len(people[identity]))):
            whose = None if k % 2 else rng.choice([n for n in names if n != identity])
            source = strangers if whose is None else people[whose]
            more.append(source[rng.integers(len(source))])
            wrong[identity, len(own) + k] = whose
        noisy[identity] = np.concatenate([own, np.array(more).reshape(-1, own.shape[1])])
    return noisy, wrong


def judge(path, storage, info, wrong) -> list[str]:
    """Say what of the injected noise was found, and what else was flagged."""
    from fusekit.store.layout import sample_key

    index = EmbeddingSet.open(storage, info)
    counts = np.bincount(np.concatenate([block.identity_index for block in index.blocks()]))
    key, item = {}, 0
    for number, count in enumerate(counts):
        for image in range(count):
            key[sample_key(f"{number:05d}/{item:05d}.jpg", 0)] = (f"{number:05d}", image)
            item += 1
    rows = {key[row["key"]]: row for row in rows_of(path, "noisy")}
    outside = [s for s, whose in wrong.items() if whose is None]
    inside = [s for s, whose in wrong.items() if whose is not None]
    named = [s for s in inside if s in rows and rows[s]["nearest_identity"] == wrong[s]
             and rows[s]["flag"] == "mislabeled"]  # fmt: skip
    dropped = [s for s, row in rows.items() if row["decision"] == "drop"]
    good = [s for s in dropped if s not in wrong]
    return [
        f"{np.mean([s in rows for s in outside]):.1%}",
        f"{np.mean([s in rows for s in inside]):.1%}",
        f"{len(named) / len(inside):.1%}",
        f"{1 - len(good) / max(len(dropped), 1):.1%}",
        str(len(good)),
        str(sum(s not in wrong for s in rows)),
    ]


def rows_of(store, name):
    """The rows of the finding of a dataset."""
    storage = open_store(store)
    finding = find_fresh(storage, "label-noise", datasets=[name])
    return read_finding_table(storage, finding).to_pylist()


PARTS = {
    "real": real,
    "injected": injected,
    "clusters": clusters,
    "speed": speed,
    "million": million,
}


def main() -> None:
    """Print the tables that were asked for, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--store", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--million", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.million:
        whisper_million()
        return
    if asked.one:
        one(asked.one)
        return
    print(machine(), "\n")
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top)
        made = asked.store
        if made is None and not set(asked.parts or PARTS) <= {"speed", "million"}:
            made = make_real_store(Path("../shared"), folder / "real")
        store = copy_store(made, folder / "store") if made else folder
        for part in asked.parts or PARTS:
            print(f"{PARTS[part].__doc__}\n\n{PARTS[part](store, folder)}\n", flush=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
