"""What is recorded of one dataset, and how its samples are distributed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.report.datasets import units_done, units_planned
from fusekit.report.description import Description, Table
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store.datasets import records
from fusekit.store.embeddings import embedding_models
from fusekit.store.findings import list_findings
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo

_SPREAD: Final = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1.0}
_QUALITY: Final = ("det_score", "eye_distance", "yaw", "sharpness", "brightness", "jpeg_quality")
_SHOWN: Final = 12


def describe_dataset(storage: Storage, info: DatasetInfo) -> Description:
    """Describe a finished dataset.

    Args:
        storage: The store.
        info: The dataset's record.
    """
    size = sum(record.shard_size for record in records(storage, info.name, info.units))
    detector = info.settings.get("detector")
    facts: dict[str, Any] = {
        "dataset": info.name,
        "dataset_index": info.index,
        "kind": info.kind,
        "form": info.form,
        "crops": f"{info.crop_size[0]}x{info.crop_size[1]} {info.template}",
        "detector": detector["name"] if detector else None,
        "items": info.items,
        "kept": info.kept,
        "rejected": info.rejected,
        "samples": info.samples,
        "faces_left_out": info.faces_left_out,
        "identities": info.identities,
        "shards": sum(1 for r in records(storage, info.name, info.units) if r.samples),
        "shard_bytes": size,
        "fingerprint": info.fingerprint,
        "plan": info.plan,
        "embeddings": [m.folder for m in embedding_models(storage, info.name)],
        "findings": [
            f"{f.kind} {f.fingerprint[:_SHOWN]}"
            for f in list_findings(storage)
            if info.name in f.datasets
        ],
    }
    tables = [_spread(storage, info)]
    if info.protocol:
        tables.append(Table("protocol", ("table", "rows"), list(info.protocol.items())))
    if info.rejects:
        ordered = sorted(info.rejects.items(), key=lambda entry: (-entry[1], entry[0]))
        tables.append(Table("rejects", ("reason", "items"), list(ordered)))
    if info.ignored:
        ignored = sorted(info.ignored.items())
        tables.append(Table("ignored", ("passed over as no item", "files"), list(ignored)))
    record = asdict(info) | {"crop_size": list(info.crop_size)}
    return Description(info.name, "dataset", facts, tables, record)


def describe_unfinished(storage: Storage, name: str) -> Description:
    """Describe how far a dataset is whose ingest was stopped."""
    facts = {
        "dataset": name,
        "state": "not finished; run its ingest again, it goes on where it stopped",
        "units done": units_done(storage, name),
        "units planned": units_planned(storage, name),
    }
    return Description(name, "dataset", facts)


def _spread(storage: Storage, info: DatasetInfo) -> Table:
    columns = ["identity_index", *_QUALITY]
    parts = [read_table(storage, file, MANIFEST_SCHEMA, columns) for file in info.files]
    rows = []
    if info.identities:
        index = np.concatenate([p["identity_index"].to_numpy() for p in parts])
        rows.append(_quantiles("images per identity", np.bincount(index, minlength=1)))
    for name in _QUALITY:
        values = np.concatenate([p[name].drop_null().to_numpy() for p in parts])
        rows.append(_quantiles(name, values))
    return Table("spread", ("of the samples", *_SPREAD), rows)


def _quantiles(name: str, values: npt.NDArray[Any]) -> tuple[Any, ...]:
    if values.size == 0:
        return (name, *(None for _ in _SPREAD))
    # "lower" keeps the values that are there: a count of images stays a whole number.
    found = np.quantile(values, list(_SPREAD.values()), method="lower")
    return (name, *(v.item() if v.dtype.kind in "iu" else round(float(v), 3) for v in found))
