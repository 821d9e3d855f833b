"""Parquet with images inside, in the layout that Hugging Face's ``datasets`` opens as images.

``image`` is a struct of the file's bytes and a name for it; the schema's metadata says which
columns are images and classes. ``datasets.load_dataset("parquet", data_dir=DIR)`` needs no more.

Reference:
    Hugging Face ``datasets``, ``features/image.py`` and ``Features.arrow_schema``.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from fusekit.export.images import split_by_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusekit.export.part import Crop, Part
    from fusekit.progress import Report
    from fusekit.schema import ArrowSchema
    from fusekit.storage.folder import Storage

_FILE_BYTES: Final = 512 << 20
_ROW_GROUP: Final = 100  # images: one that is asked for costs the reading of so many
_MOST_NAMED_CLASSES: Final = 10_000  # names stand in every file's metadata
_IMAGE: Final = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_LABELED: Final = {
    "image": _IMAGE, "label": pa.int64(), "dataset": pa.string(), "identity": pa.string(),
    "key": pa.string(),
}  # fmt: skip
_UNLABELED: Final = {"image": _IMAGE, "dataset": pa.string(), "key": pa.string()}


def write_parquet(part: Part, target: Storage, report: Report) -> None:
    """Write ``train-00000-of-00012.parquet`` and so on, of about 512 MiB of images at most."""
    schema = _schema(part)
    crops = part.crops(report)
    files = split_by_bytes(part.sizes, _FILE_BYTES)
    for number, rows in enumerate(files):
        name = f"train-{number:05d}-of-{len(files):05d}.parquet"
        with (
            target.writing(name) as file,
            pq.ParquetWriter(
                file, schema, compression="zstd", use_dictionary=["dataset", "identity"],
                write_page_index=True, write_page_checksum=True,
            ) as table,
        ):  # fmt: skip
            for start in range(rows.start, rows.stop, _ROW_GROUP):
                group = islice(crops, min(_ROW_GROUP, rows.stop - start))
                table.write_batch(_batch(part, start, group, schema))


def _batch(part: Part, start: int, crops: Iterable[Crop], schema: ArrowSchema) -> pa.RecordBatch:
    rows = list(crops)
    columns: dict[str, list[Any]] = {
        "image": [{"bytes": c.image, "path": f"{c.name}.{c.suffix}"} for c in rows],
        "label": [c.label for c in rows],
        "dataset": [part.mixture.sources[c.source].name for c in rows],
        "key": [c.key for c in rows],
    }
    if "identity" in schema.names:
        columns["identity"] = part.identities.slice(start, len(rows)).to_pylist()
    return pa.RecordBatch.from_pydict({n: columns[n] for n in schema.names}, schema)


def _schema(part: Part) -> ArrowSchema:
    columns = _LABELED if part.name == "labeled" else _UNLABELED
    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in columns}
    features["image"] = {"_type": "Image"}
    if "label" in columns:
        features["label"] = _label_feature(part)
    about = {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()], about)


def _label_feature(part: Part) -> dict[str, Any]:
    if part.num_classes > _MOST_NAMED_CLASSES:
        return {"dtype": "int64", "_type": "Value"}
    classes = part.mixture.classes.select(["dataset", "identity"]).to_pylist()
    # Names must differ, and two datasets may spell two people alike.
    names = [f"{each['dataset']}/{each['identity']}" for each in classes]
    return {"names": names, "_type": "ClassLabel"}
