"""Erase from what was made of datasets: findings, heads and mixtures."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.numpy

from fusekit.errors import StorageError
from fusekit.fingerprint import file_sha256, fingerprint
from fusekit.mixture.index import open_index
from fusekit.rng import derive
from fusekit.schema import INDEX_SCHEMA, SHARDS_SCHEMA
from fusekit.store import layout
from fusekit.store.commit import read_record
from fusekit.store.erasure import blank_table, rewrite_table
from fusekit.store.findings import finding_json, list_findings
from fusekit.store.tables import read_table
from fusekit.store.tombstones import STEM_LETTERS, forgotten_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import Vectors
    from fusekit.store.erasure import Gone
    from fusekit.store.findings import Finding

_ROWS: Final = ("labeled.parquet", "unlabeled.parquet")


def erase_findings(storage: Storage, gone: Sequence[Gone]) -> int:
    """Blank the rows of findings; one whose own description names what is erased is removed.

    Returns:
        How many findings were changed or removed.

    Raises:
        FindingError: A finding is damaged.
        StorageError: A table is damaged or can't be written.
    """
    changed = _remove_unfinished(storage)
    for finding in list_findings(storage):
        folder = layout.finding(finding.kind, finding.fingerprint)
        if _names_any(finding.about, gone):
            # It is named by what it says, so that can't be changed; it can be made again.
            storage.remove(f"{folder}/finding.json")
            shutil.rmtree(storage.path(folder), ignore_errors=True)
            changed += 1
        else:
            changed += _erase_finding(storage, finding, folder, gone)
    return changed


def erase_heads(storage: Storage, gone: Sequence[Gone]) -> int:
    """Blank people in the heads of the store and overwrite their class centres.

    A centre becomes a direction that is nobody's: a row of zeros would be no head.

    Returns:
        How many heads were changed.

    Raises:
        StorageError: A file can't be read or written.
    """
    changed = 0
    for file in storage.names("heads"):
        if file.endswith(".json"):
            changed += _erase_head(storage, file.removesuffix(".json"), gone)
    return changed


def touched_mixtures(storage: Storage, shards: set[str]) -> list[str]:
    """Give the finished mixtures that read any of these shards.

    Args:
        storage: The store.
        shards: Their names in the store.
    """
    return [
        name
        for name in storage.names("mixtures")
        if storage.exists(f"{layout.mixture(name)}/mixture.json")
        and not shards.isdisjoint(
            read_table(storage, f"{layout.mixture(name)}/shards.parquet", SHARDS_SCHEMA)["path"]
            .to_pylist()
        )
    ]  # fmt: skip


def erase_mixture(storage: Storage, name: str, gone: Sequence[Gone]) -> bool:
    """Blank a mixture's rows and set their lengths to 0; no row moves and no label changes.

    Returns:
        Whether anything of it was changed.

    Raises:
        StorageError: A file is damaged or can't be written.
    """
    folder = layout.mixture(name)
    where = f"{folder}/mixture.json"
    if not storage.exists(where):
        # A killed build's tables: nothing reads them, and the next build writes them anew.
        shutil.rmtree(storage.path(folder), ignore_errors=True)
        return True
    shutil.rmtree(storage.path(f"{folder}/.work"), ignore_errors=True)  # a killed build's
    storage.sweep(folder)
    was: dict[str, Any] = json.loads(storage.read(where))
    for file in was["files"]:
        if file == "shards.parquet":
            rewrite_table(storage, f"{folder}/{file}", lambda rows: _with_digests(storage, rows))
        elif file.endswith(".parquet"):
            rewrite_table(storage, f"{folder}/{file}", lambda rows: blank_table(rows, gone, None))
    _erase_index(storage, folder)
    about = _blank_json(was, gone)
    if _blank_recipe(about["recipe"], gone):
        about["recipe_fingerprint"] = fingerprint(about["recipe"])
    about["files"] = {
        file: {
            "sha256": file_sha256(storage.path(f"{folder}/{file}")),
            "size": storage.size(f"{folder}/{file}"),
        }
        for file in was["files"]
    }
    del about["digest"]
    about["digest"] = fingerprint(about)
    if about != was:
        storage.write(where, json.dumps(about, indent=1, sort_keys=True).encode())
    changed: bool = about != was
    return changed


def _remove_unfinished(storage: Storage) -> int:
    """Remove what killed runs left of findings: a table of which nobody says whose it is."""
    folders = [
        layout.finding(kind, name)
        for kind in storage.names("findings")
        for name in storage.names(f"findings/{kind}")
    ]
    half = [folder for folder in folders if not storage.exists(f"{folder}/finding.json")]
    for folder in half:
        shutil.rmtree(storage.path(folder), ignore_errors=True)
    return len(half)


def _erase_finding(storage: Storage, finding: Finding, folder: str, gone: Sequence[Gone]) -> bool:
    table = f"{folder}/table.parquet"
    # Kinds without a column of the dataset speak of one.
    dataset = finding.datasets[0] if len(finding.datasets) == 1 else None
    rewrite_table(storage, table, lambda rows: blank_table(rows, gone, dataset))
    data = finding_json(finding, file_sha256(storage.path(table)))
    if storage.read(f"{folder}/finding.json") == data:
        return False
    storage.write(f"{folder}/finding.json", data)
    return True


def _names_any(about: Any, gone: Sequence[Gone]) -> bool:  # noqa: ANN401 - a JSON value
    stems = {stem for each in gone for stem in each.stems}
    return any(
        any(each.index_of(text) is not None for each in gone)
        or (len(text) == STEM_LETTERS + 3 and text[:STEM_LETTERS] in stems)
        for text in texts_of(about)
    )


def texts_of(value: Any) -> Iterator[str]:  # noqa: ANN401 - a JSON value
    """Give every text in a JSON value, names of its fields too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner)


def _erase_head(storage: Storage, name: str, gone: Sequence[Gone]) -> bool:
    where, weights = f"heads/{name}.json", f"heads/{name}.safetensors"
    about = json.loads(storage.read(where))
    rows = about.get("rows") if isinstance(about, dict) else None
    if not isinstance(rows, list) or not storage.exists(weights):
        return False
    by_name = {each.dataset: each for each in gone}
    numbers = {
        n: by_name[row[0]].index_of(row[1]) for n, row in enumerate(rows) if row[0] in by_name
    }
    erased = {n: number for n, number in numbers.items() if number is not None}
    if not erased:
        return False
    arrays = safetensors.numpy.load(storage.read(weights))
    centres = arrays["weight"].copy()
    for number in erased:
        centres[number] = _nobody(centres.shape[1], derive(0, "forgotten", name, number))
    data = safetensors.numpy.save(arrays | {"weight": centres})
    storage.write(weights, data)
    for number, index in erased.items():
        rows[number] = [rows[number][0], forgotten_identity(index)]
    if "digest" in about:  # laid by hand it has neither
        about["weight_sha256"] = hashlib.sha256(data).hexdigest()
        del about["digest"]
        about["digest"] = fingerprint(about)
    storage.write(where, json.dumps(about, ensure_ascii=False).encode())
    return True


def _nobody(dim: int, key: int) -> Vectors:
    """Give a unit vector of signs, ``(dim,)``: as far from everybody as two strangers are."""
    signs = [derive(key, i) & 1 for i in range(dim)]
    centre: Vectors = ((np.array(signs) * 2 - 1) / np.sqrt(dim)).astype(np.float32)
    return centre


def _with_digests(storage: Storage, rows: pa.Table) -> pa.Table:
    """Give the mixture's shards the digests that they have now."""
    digests = rows["sha256"].to_pylist()
    for number, path in enumerate(rows["path"].to_pylist()):
        dataset, unit = path.split("/")[1], int(path[-10:-4])
        record = read_record(storage, dataset, unit)
        # Of a dataset that was ingested anew since it is another shard, and none of this one's.
        if record is not None and record.written_sha256:
            digests[number] = record.shard_sha256
    at = rows.schema.get_field_index("sha256")
    return rows.set_column(at, rows.schema.field(at), pa.array(digests, pa.string()))


def _erase_index(storage: Storage, folder: str) -> None:
    name = f"{folder}/index.arrow"
    index = open_index(storage.path(name))
    lengths = np.concatenate([
        pq.read_table(storage.path(f"{folder}/{file}"), columns=["length"], partitioning=None)
        ["length"].to_numpy()
        for file in _ROWS
    ])  # fmt: skip
    if len(lengths) != len(index):
        raise StorageError(name, f"has {len(index)} rows", f"{len(lengths)}", "fusekit verify")
    erased = lengths == 0
    if not (index.length[erased].any() or index.digest[erased].any()):
        return
    columns = {name: getattr(index, name).copy() for name in INDEX_SCHEMA.names}
    columns["length"][erased] = 0
    columns["digest"][erased] = 0
    arrays = [
        pa.Array.from_buffers(field.type, len(index), [None, pa.py_buffer(columns[field.name])])
        for field in INDEX_SCHEMA
    ]
    batch = pa.record_batch(arrays, schema=INDEX_SCHEMA)
    with storage.writing(name) as file, pa.ipc.new_file(file, INDEX_SCHEMA) as out:
        out.write_batch(batch)


def _blank_recipe(recipe: dict[str, Any], gone: Sequence[Gone]) -> bool:
    """Blank the people whom a recipe leaves out by name; say whether there are any."""
    listed = (recipe.get("exclude") or {}).get("identities", {})
    changed = False
    for each in gone:
        named = listed.get(each.dataset, [])
        for place, text in enumerate(named):
            index = each.index_of(text)
            if index is not None:
                named[place] = forgotten_identity(index)
                changed = True
    return changed


def _blank_json(value: Any, gone: Sequence[Gone]) -> Any:  # noqa: ANN401 - a JSON value
    """Blank people where a JSON object names them beside their dataset."""
    if isinstance(value, list):
        return [_blank_json(inner, gone) for inner in value]
    if not isinstance(value, dict):
        return value
    found = {name: _blank_json(inner, gone) for name, inner in value.items()}
    for each in gone:
        text = found.get("identity")
        if text is None or found.get("dataset") != each.dataset:
            continue
        index = each.index_of(text)
        if index is not None:
            found["identity"] = forgotten_identity(index)
    return found
