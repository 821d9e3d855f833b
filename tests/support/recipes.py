"""Recipes, findings and mixtures for tests, in as few words as a test can say them."""

import json
from typing import Any

from fusekit.fingerprint import fingerprint
from fusekit.mixture.build import build_mixture
from fusekit.mixture.recipe import Recipe
from fusekit.mixture.summary import MixtureSummary
from fusekit.schema import ACTIVATIONS_SCHEMA
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


def change_fingerprint(storage: Storage, dataset: str, value: str) -> None:
    """Make a finished dataset look as if it had been ingested otherwise."""
    name = layout.dataset_json(dataset)
    about = json.loads(storage.read(name)) | {"fingerprint": value}
    about.pop("digest", None)
    about["digest"] = fingerprint(about)
    storage.write(name, json.dumps(about).encode())


def _sources(sources: Any) -> list[dict[str, Any]]:
    return [{"dataset": s} if isinstance(s, str) else dict(s) for s in sources]
