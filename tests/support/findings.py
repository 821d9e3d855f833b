"""Findings written by hand over drawn datasets, for what only shows or applies them."""

from typing import Any

from support.stores import make_dataset

from fusekit.storage.folder import Storage
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import SCHEMAS, Finding, write_finding
from fusekit.store.layout import sample_key

PEOPLE = {"ann": 9, "bob": 12, "cid": 3}
STARS = {"x1": 5, "x2": 6}
CRAWL = 20


def key(person: str, item: int) -> str:
    """Give the key of a drawn dataset's item."""
    return sample_key(f"{person}/{item:05d}.jpg", 0)


def make_datasets(storage: Storage) -> None:
    """Make people and stars (labeled), crawl (unlabeled) and exam (evaluation)."""
    make_dataset(storage, "people", PEOPLE, index=3, names={"ann": "Ann Lee"})
    make_dataset(storage, "stars", STARS, seed=1)
    make_dataset(storage, "crawl", CRAWL, seed=2)
    make_dataset(storage, "exam", {"ann_lee": 4}, kind="evaluation", seed=3)


def make_finding(storage: Storage, kind: str, rows: list[dict[str, Any]], **about: Any) -> Finding:
    """Write a finding of the datasets that ``about`` names, with their fingerprints."""
    named = about.get("datasets") or [about["dataset"]]
    read = sorted({*named, *about.pop("read", ())})
    inputs = {name: open_dataset(storage, name).fingerprint for name in read}
    return write_finding(storage, kind, {**about, "inputs": inputs}, rows, SCHEMAS[kind])


def make_findings(storage: Storage) -> dict[str, Finding]:
    """Make one finding of each kind over the datasets of :func:`make_datasets`."""
    pairs = [_pair("ann", "x1", 0.81, "same"), _pair("bob", "x2", 0.47, "unsure"),
             _pair("cid", "x2", 0.2, "different")]  # fmt: skip
    noise = [
        _noise("ann", 0, "split", "unsure"),
        _noise("ann", 1, "split", "unsure"),
        _noise("bob", 9, "outlier", "drop"),
        _noise("bob", 10, "mislabeled", "drop"),
    ]
    copies = [
        _copy(0, "ann", 2, best=True),
        _copy(0, "ann", 3),
        _copy(0, "ann", 4),
        _copy(1, "bob", 11, best=True, conflict=True),
        _copy(1, "cid", 21, conflict=True),
    ]
    clusters = [
        {"key": key("crawl", i), "cluster": c, "size": n, "score": s}
        for i, (c, n, s) in enumerate(
            [(0, 15, 0.9 - i / 50) for i in range(15)] + [(1, 3, 0.8)] * 3 + [(-1, 1, 0.0)] * 2
        )
    ]
    activations = [
        {
            "key": key("crawl", i), "activation": i / 19, "cosine": i / 19,
            "nearest_dataset": "people", "nearest_identity": "ann", "low_quality": None,
            "duplicate_of": None,
        }
        for i in range(CRAWL)
    ]  # fmt: skip
    found = {
        "dataset": "people", "identity": "ann", "identity_index": 0, "evaluation": "exam",
        "evaluation_identity": "ann_lee", "reason": "name+embedding", "score": 0.9, "votes": 9,
        "compared": 9, "name_match": True, "decision": "same",
    }  # fmt: skip
    listed = found | {
        "identity": "bob", "identity_index": 1, "evaluation_identity": None, "votes": 0,
        "reason": "published", "score": None, "compared": 0, "name_match": None,
    }  # fmt: skip
    about = {"read": ["people"], "threshold": 0.9, "cosine_threshold": 0.4}
    return {
        "overlap": make_finding(storage, "overlap", pairs, datasets=["people", "stars"]),
        "contamination": make_finding(
            storage, "contamination", [found, listed], datasets=["people"], read=["exam"]
        ),
        "label-noise": make_finding(storage, "label-noise", noise, dataset="people"),
        "duplicates": make_finding(storage, "duplicates", copies, datasets=["people"]),
        "clusters": make_finding(storage, "clusters", clusters, dataset="crawl"),
        "activation": make_finding(storage, "activation", activations, dataset="crawl", **about),
    }


def _pair(a: str, b: str, score: float, decision: str) -> dict[str, Any]:
    return {
        "dataset_a": "people", "identity_a": a, "identity_index_a": sorted(PEOPLE).index(a),
        "dataset_b": "stars", "identity_b": b, "identity_index_b": sorted(STARS).index(b),
        "score": score, "votes": 20, "compared": 25, "margin": 0.3, "name_match": None,
        "false_match": 1e-6, "decision": decision, "cluster": 0 if decision == "same" else -1,
    }  # fmt: skip


def _noise(person: str, item: int, flag: str, decision: str) -> dict[str, Any]:
    return {
        "key": key(person, item), "identity": person, "flag": flag, "score": 0.1,
        "identity_index": sorted(PEOPLE).index(person), "cluster": 1 if flag == "split" else -1,
        "nearest_identity": "ann" if person != "ann" else "bob", "nearest_score": 0.3,
        "decision": decision,
    }  # fmt: skip


def _copy(
    group: int, person: str, item: int, *, best: bool = False, conflict: bool = False
) -> dict[str, Any]:
    decision = "unsure" if conflict else "keep" if best else "drop"
    return {
        "group": group, "dataset": "people", "key": key(person, item), "identity": person,
        "match": "content", "distance": 0 if best else 4, "cosine": 0.97,
        "quality": 0.9 if best else 0.5, "best": best, "conflict": conflict, "decision": decision,
    }  # fmt: skip
