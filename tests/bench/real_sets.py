"""Print what every finding says of the real sets, in one go: what the tests of them assert.

    PYTHONPATH=tests python tests/bench/real_sets.py [--store STORE]

STORE is a store as tests/support/real_store.py makes it; it is copied, never written to. Without
one it is made from ../shared, which takes two minutes.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from support.benchmarks import machine, table, today
from support.known_crawl import make_known_crawl
from support.real_store import copy_store, make_real_store

from fusekit import (
    filter_unlabeled,
    find_contamination,
    find_duplicates,
    find_label_noise,
    find_overlap,
)
from fusekit.curate.names import match_names, person_name
from fusekit.store import layout

NAMED = ("pins", "glint", "five", "lfw")


def names_of(store, dataset):
    """Identity to the name that a person reads; None: it has none."""
    rows = pq.read_table(store / layout.identities(dataset)).to_pylist()
    return {row["identity"]: person_name(row["identity"], row["name"]) for row in rows}


def same_names(store, a, b):
    """The pairs of identities of two datasets that have one name."""
    ours, theirs = names_of(store, a), names_of(store, b)
    matches = match_names(list(ours.values()), list(theirs.values()))
    return {(list(ours)[i], list(theirs)[j]) for i, j in matches}


def overlap(store):
    """Who is in two of the sets that have names: by name, and by the finding."""
    result = find_overlap(NAMED, store=store)
    pairs = result.as_json()["pairs"]
    rows = []
    for number, a in enumerate(NAMED):
        for b in NAMED[number + 1 :]:
            wanted = same_names(store, a, b)
            found = {decision: set() for decision in ("same", "unsure")}
            for pair in pairs:
                ends = {pair[end]["dataset"]: pair[end]["identity"] for end in "ab"}
                if ends.keys() == {a, b} and pair["decision"] in found:
                    found[pair["decision"]].add((ends[a], ends[b]))
            rows.append([
                f"overlap {a} {b}", f"{len(wanted)} of one name",
                f"{len(found['same'] & wanted)} the same, {len(found['same'] - wanted)} others, "
                f"{len(found['unsure'])} unsure",
            ])  # fmt: skip
    return rows


def contamination(store):
    """Who of the training sets is in LFW."""
    rows = []
    for name in ("pins", "glint", "five", "celeba"):
        result = find_contamination([name], against=["lfw"], store=store)
        found = {each["identity"] for each in result.as_json()["identities"]}
        wanted = {identity for identity, _ in same_names(store, name, "lfw")}
        rows.append([
            f"decontaminate {name} --against lfw", f"{len(wanted)} of one name",
            f"{len(found & wanted)} found, {len(found - wanted)} others",
        ])  # fmt: skip
    return rows


def label_noise(store):
    """Two people in a class of Glint, and what is wrong in the others."""
    rows = []
    for name in ("pins", "glint", "celeba", "five", "lfw"):
        result = find_label_noise(name, store=store)
        names = names_of(store, name)
        split = ", ".join(names[each] or each for each in result.split) or "none"
        rows.append([
            f"clean {name}", f"{result.samples:,} samples",
            f"two people: {split}; {result.outliers} outliers, {result.mislabeled} mislabeled, "
            f"{result.dropped} dropped",
        ])  # fmt: skip
    return rows


def copies(store):
    """The file that CelebA has under two identities, and all other copies."""
    result = find_duplicates(["celeba"], store=store)
    conflicts = [sorted(conflict.identities) for conflict in result.conflicts]
    names = {r["identity"]: r["name"] for r in pq.read_table(
        store / layout.identities("celeba")).to_pylist()}  # fmt: skip
    between = [sorted(names[each] for each in pair) for pair in conflicts]
    return [[
        "dedup celeba", f"{result.samples:,} samples",
        f"{result.exact} exact and {result.near} near copies; {len(conflicts)} under two "
        f"identities, {between.count(['07312', '07317'])} of them 07312 and 07317",
    ]]  # fmt: skip


def activations(store, folder):
    """Half of Pins' pictures in a crawl of CelebA's people."""
    made, truth = make_known_crawl(store, folder)
    result = filter_unlabeled("crawl", against=["known"], store=made, truth=truth).as_json()
    judged = result["truth"]
    return [[
        "filter crawl --against known", f"{judged['known']:,} known, {judged['strangers']:,} not",
        f"{judged['recall']:.1%} of known people's out, "
        f"{judged['strangers_kept'] / judged['strangers']:.1%} of strangers' kept, "
        f"precision {judged['precision']:.1%}",
    ]]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = asked.store or make_real_store(asked.shared.absolute(), folder / "made")
        store = copy_store(made, folder / "store")
        began, rows = time.perf_counter(), []
        for part in (overlap, contamination, label_noise, copies):
            rows += part(store)
        rows += activations(store, folder)
        print(f"{machine()}; {today()}; {time.perf_counter() - began:.0f} s\n")
        print(table(["command", "there", "found"], rows))


if __name__ == "__main__":
    main()
