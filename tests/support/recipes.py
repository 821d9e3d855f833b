"""Recipes, findings and mixtures for tests, in as few words as a test can say them."""

import json
from typing import Any

import pyarrow.parquet as pq

from fusekit.fingerprint import fingerprint
from fusekit.mixture.build import build_mixture
from fusekit.mixture.recipe import Recipe
from fusekit.mixture.summary import MixtureSummary
from fusekit.schema import (
    ACTIVATIONS_SCHEMA,
    CLUSTERS_SCHEMA,
    CONTAMINATION_SCHEMA,
    DUPLICATES_SCHEMA,
    LABEL_NOISE_SCHEMA,
    OVERLAP_SCHEMA,
)
from fusekit.storage.folder import Storage
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import Finding, write_finding


def recipe(*labeled: str | dict[str, Any], unlabeled: Any = (), **more: Any) -> Recipe:
    """A recipe of datasets given by name, or by what the recipe says of them."""
    plain = {"name": "m", "labeled": _sources(labeled), "unlabeled": _sources(unlabeled)}
    return Recipe.model_validate(plain | more)


def build(storage: Storage, *labeled: Any, overwrite: bool = False, **more: Any) -> MixtureSummary:
    """Build a mixture named m unless ``name`` says otherwise."""
    return build_mixture(recipe(*labeled, **more), storage.root, overwrite=overwrite)


def give_activations(
    storage: Storage, dataset: str, against: list[str], rows: list[dict[str, Any]], **more: Any
) -> Finding:
    """Write an activation finding; rows hold key, activation, cosine."""
    inputs = {name: open_dataset(storage, name).fingerprint for name in (dataset, *against)}
    about = {
        "dataset": dataset, "inputs": inputs, "against": against, "head": None,
        "model": {"name": "drawn", "sha256": "0" * 64}, "rule": "activation", "threshold": 0.9,
        "cosine_threshold": None, "scale": 1.0,
    } | more  # fmt: skip
    nearest = {"nearest_dataset": against[0] if against else "x", "nearest_identity": "ann"}
    return write_finding(
        storage, "activation", about, [row | nearest for row in rows], ACTIVATIONS_SCHEMA
    )


def give_finding(
    storage: Storage,
    kind: str,
    datasets: list[str],
    rows: list[dict[str, Any]],
    *,
    also: list[str] | None = None,
    **more: Any,
) -> Finding:
    """Write a finding by hand: a row says what a test is about, the rest is made up.

    Args:
        datasets: Those it speaks of.
        also: Others that were read.
        more: What else it says of itself.
    """
    schema, plain = _FINDINGS[kind]
    inputs = {name: open_dataset(storage, name).fingerprint for name in (*datasets, *(also or ()))}
    about = {"datasets": datasets, "inputs": inputs} | more
    return write_finding(storage, kind, about, [plain | row for row in rows], schema)


def person(storage: Storage, dataset: str, identity: str) -> int:
    """The identity's integer in its dataset."""
    return identities_of(storage, dataset).index(identity)


def identities_of(storage: Storage, dataset: str) -> list[str]:
    """A dataset's identities, by their integers."""
    path = storage.path(layout.identities(dataset))
    return pq.read_table(path)["identity"].to_pylist()


def contaminated(
    storage: Storage, dataset: str, identity: str, evaluation: str, decision: str = "same", **more
) -> dict[str, Any]:
    """A row of a contamination finding."""
    return {
        "dataset": dataset, "identity": identity,
        "identity_index": person(storage, dataset, identity), "evaluation": evaluation,
        "decision": decision,
    } | more  # fmt: skip


def same_person(
    storage: Storage, a: tuple[str, str], b: tuple[str, str], cluster: int, decision: str = "same"
) -> dict[str, Any]:
    """A row of an overlap finding; identities are given as (dataset, identity)."""
    return {
        "dataset_a": a[0], "identity_a": a[1], "identity_index_a": person(storage, *a),
        "dataset_b": b[0], "identity_b": b[1], "identity_index_b": person(storage, *b),
        "cluster": cluster, "decision": decision,
    }  # fmt: skip


_FINDINGS: dict[str, Any] = {
    "overlap": (
        OVERLAP_SCHEMA,
        {"score": 0.8, "votes": 9, "compared": 9, "margin": None, "name_match": None,
         "false_match": 0.0},
    ),
    "contamination": (
        CONTAMINATION_SCHEMA,
        {"evaluation_identity": None, "reason": "embedding", "score": 0.8, "votes": 9,
         "compared": 9, "name_match": None},
    ),
    "label-noise": (
        LABEL_NOISE_SCHEMA,
        {"flag": "outlier", "cluster": -1, "score": 0.1, "nearest_identity": None,
         "nearest_score": None, "decision": "drop"},
    ),
    "clusters": (CLUSTERS_SCHEMA, {"cluster": 0, "size": 1, "score": 0.0}),
    "duplicates": (
        DUPLICATES_SCHEMA,
        {"identity": None, "match": "near", "distance": 0, "cosine": None, "quality": 0.5,
         "best": False, "conflict": False, "decision": "drop"},
    ),
}  # fmt: skip


def change_fingerprint(storage: Storage, dataset: str, value: str) -> None:
    """Make a finished dataset look as if it had been ingested otherwise."""
    name = layout.dataset_json(dataset)
    about = json.loads(storage.read(name)) | {"fingerprint": value}
    about.pop("digest", None)
    about["digest"] = fingerprint(about)
    storage.write(name, json.dumps(about).encode())


def _sources(sources: Any) -> list[dict[str, Any]]:
    return [{"dataset": s} if isinstance(s, str) else dict(s) for s in sources]
