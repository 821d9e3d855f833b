"""Trained heads: class centres of a recognition model's last layer, never unpickled.

In the store a head is ``heads/<name>.safetensors`` beside ``heads/<name>.json``. Outside it is any
``.safetensors`` or ``.npz`` file with an array ``weight`` ``(C, D)``, and ``scale`` as a second
array or in a ``.json`` of the same name, which may also hold ``embedder`` and ``rows``.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import safetensors
import safetensors.numpy

from fusekit.errors import ModelError, StoreError
from fusekit.fingerprint import file_sha256, fingerprint
from fusekit.store import layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusekit.storage.folder import Storage
    from fusekit.store.embeddings import EmbeddingModel, Vectors

_SUFFIXES: Final = (".safetensors", ".npz")
_UNIT: Final = 1e-3  # a float16 row's length is exact to about this
NO_DATASET: Final = "head"


@dataclass(frozen=True)
class Head:
    """Class centres and scale of a softmax head.

    Attributes:
        name: Its name in the store, or its file's.
        sha256: Of the file and of what stands beside it.
        weight: float32 ``(C, D)``, rows of unit length; the rows of a dataset stand together.
        scale: What cosines are multiplied by before the softmax.
        ranges: ``(dataset, first row, end)`` in row order.
        identities: Identity of each row.
        embedder: sha256 of the model whose embeddings it was trained on; None when unsaid.
        normalized: True when rows were not of unit length and were brought to it.
        mapped: False when the file does not say whose row is whose; then identities are row
            numbers of the one dataset ``head``.
    """

    name: str
    sha256: str
    weight: Vectors
    scale: float
    ranges: tuple[tuple[str, int, int], ...]
    identities: tuple[str, ...]
    embedder: str | None
    normalized: bool
    mapped: bool

    def check_model(self, model: EmbeddingModel) -> None:
        """Refuse embeddings by another model than the one this head was trained on.

        Raises:
            ModelError: The model is another.
        """
        if self.embedder is not None and self.embedder != model.sha256:
            raise ModelError(
                self.name,
                f"an embedder that differs from the head's: {model.name} {model.sha256[:8]}",
                f"sha256 {self.embedder[:8]}…",
                "give the head's own model with --model",
            )

    def check_dim(self, model: EmbeddingModel, dim: int) -> None:
        """Refuse embeddings of another dimension.

        Raises:
            ModelError: The dimension is another.
        """
        if self.weight.shape[1] != dim:
            raise ModelError(
                self.name, f"has centres of {self.weight.shape[1]} numbers",
                f"{dim} as {model.name} gives", "give the head's own model with --model",
            )  # fmt: skip

    def of_datasets(self, names: Sequence[str]) -> Head:
        """Keep the rows of some datasets; a head without a mapping is taken to be of them all.

        Raises:
            ModelError: It has no rows of one of them.
        """
        if not names:
            return self
        if not self.mapped:
            whole = names[0] if len(names) == 1 else NO_DATASET
            return replace(self, ranges=((whole, 0, len(self.weight)),))
        mine = {name: (first, end) for name, first, end in self.ranges}
        rows, ranges, at = [], [], 0
        for name in names:
            if name not in mine:
                raise ModelError(self.name, f"has no rows of {name}", f"one of {', '.join(mine)}")
            first, end = mine[name]
            rows.append(np.arange(first, end))
            ranges.append((name, at, at + end - first))
            at += end - first
        taken = np.concatenate(rows)
        return replace(
            self, weight=self.weight[taken], ranges=tuple(ranges),
            identities=tuple(self.identities[i] for i in taken),
        )  # fmt: skip


def load_head(storage: Storage, head: str) -> Head:
    """Load a head of the store by its name, or one of a file by its path.

    Args:
        storage: The store.
        head: A name, or a path that ends in ``.safetensors`` or ``.npz``.

    Raises:
        StoreError: The store has no head of this name.
        ModelError: The file is missing, damaged, or holds no head.
    """
    if head.endswith(_SUFFIXES):
        path, name = Path(head).expanduser(), Path(head).name
        if not path.is_file():
            raise ModelError(head, "is not there", "a .safetensors or .npz file")
    else:
        name = layout.check_name(head, "head")
        stored = f"heads/{name}.safetensors"
        if not (storage.exists(stored) and storage.exists(f"heads/{name}.json")):
            names = [n[:-5] for n in storage.names("heads") if n.endswith(".json")]
            where = f"head {name}"
            raise StoreError(
                where, "is not in the store", f"one of {', '.join(names)}" if names
                else "the path of a .safetensors or .npz file",
            )  # fmt: skip
        path = storage.path(stored)
    arrays = _arrays(path)
    about = _about(path)
    return _head(name, path, arrays, about)


def write_head(
    storage: Storage,
    name: str,
    weight: Vectors,
    *,
    scale: float,
    rows: Sequence[tuple[str, str]],
    embedder: EmbeddingModel,
) -> None:
    """Write a head into the store: the weights first, then what they are.

    Args:
        storage: The store.
        name: The head's name, as datasets are named.
        weight: ``(C, D)`` class centres; they are brought to unit length.
        scale: What cosines are multiplied by, over 0.
        rows: ``(dataset, identity)`` of each row.
        embedder: The model that gives the embeddings.

    Raises:
        ModelError: The weights are no head, or ``rows`` are not as many.
    """
    layout.check_name(name, "head")
    unit, _ = _unit_rows(name, np.asarray(weight))
    if len(rows) != len(unit):
        raise ModelError(name, f"{len(rows)} rows are named", f"{len(unit)} as the weights have")
    if not scale > 0:
        raise ModelError(name, f"scale {scale}", "a number over 0")
    about = {
        "format_version": layout.FORMAT_VERSION, "scale": scale,
        "embedder": {"name": embedder.name, "sha256": embedder.sha256},
        "rows": [list(row) for row in rows],
    }  # fmt: skip
    data = safetensors.numpy.save({"weight": unit})
    about["weight_sha256"] = hashlib.sha256(data).hexdigest()
    about["digest"] = fingerprint(about)
    storage.write(f"heads/{name}.safetensors", data)
    storage.write(f"heads/{name}.json", json.dumps(about, ensure_ascii=False).encode())


def _arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        if path.suffix == ".npz":
            if not zipfile.is_zipfile(path):
                raise zipfile.BadZipFile("it is no zip archive")  # noqa: TRY301 - one message below
            # The members are npy files: with pickles refused, reading one runs nothing.
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in ("weight", "scale") if name in file}
        with safetensors.safe_open(path, framework="np") as file:
            names = set(file.keys())
            return {n: file.get_tensor(n) for n in ("weight", "scale") if n in names}
    except (OSError, ValueError, TypeError, EOFError, MemoryError, RuntimeError, AttributeError,
            zlib.error, zipfile.BadZipFile, safetensors.SafetensorError) as error:  # fmt: skip
        # Runtime: an encrypted or unknown kind of zip; attribute: a type that numpy lacks.
        reason = " ".join(str(error).split())[:120]
        raise ModelError(path, f"is no head that can be read ({reason})") from None


def _about(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        about = json.loads(beside.read_bytes())
    except (OSError, ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise ModelError(beside, "is damaged", "a JSON object with scale, embedder and rows")
    version = about.get("format_version", layout.FORMAT_VERSION)
    if not isinstance(version, int) or version > layout.FORMAT_VERSION:
        raise ModelError(beside, f"has format {version}", f"at most {layout.FORMAT_VERSION}")
    return about


def _head(
    name: str, path: Path, arrays: dict[str, np.ndarray[Any, Any]], about: dict[str, Any]
) -> Head:
    if "weight" not in arrays:
        raise ModelError(name, "has no array 'weight'", "class centres (C, D)")
    unit, normalized = _unit_rows(name, arrays["weight"])
    embedder = about.get("embedder")
    sha256 = embedder.get("sha256") if isinstance(embedder, dict) else None
    if not isinstance(sha256, str | None):
        raise ModelError(name, f"embedder has the sha256 {sha256!r}", "64 hexadecimal digits")
    order, ranges, identities = _rows(name, about.get("rows"), len(unit))
    beside = path.with_suffix(".json")
    digests = [file_sha256(path), file_sha256(beside) if about else None]
    return Head(
        name=name, sha256=fingerprint(digests), weight=unit[order],
        scale=_scale(name, about.get("scale", arrays.get("scale"))), ranges=ranges,
        identities=identities, embedder=sha256, normalized=normalized,
        mapped=about.get("rows") is not None,
    )  # fmt: skip


def _unit_rows(name: str, weight: np.ndarray[Any, Any]) -> tuple[Vectors, bool]:
    if weight.ndim != 2 or 0 in weight.shape or weight.dtype.kind != "f":
        found = f"weight is {weight.dtype} {weight.shape}"
        raise ModelError(name, found, "float class centres (C, D)")
    with np.errstate(over="ignore"):  # found below as not finite
        wide = weight.astype(np.float32)
    norms = np.sqrt(np.square(wide, dtype=np.float64).sum(axis=1))  # (C,)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0))
    if bad.size:
        raise ModelError(name, f"row {bad[0]} is all zeros or not finite", "class centres")
    unit: Vectors = (wide / norms[:, None]).astype(np.float32)
    return unit, bool((np.abs(norms - 1) > _UNIT).any())


def _scale(name: str, found: Any) -> float:  # noqa: ANN401 - whatever a file holds
    try:
        scale = float(np.asarray(found, np.float64).reshape(()))
    except (TypeError, ValueError):
        scale = float("nan")
    if not (np.isfinite(scale) and scale > 0):
        raise ModelError(
            name, "says no scale over 0" if found is None else f"scale is {found!r}",
            "the number that cosines are multiplied by, such as 64",
            f"put \"scale\" into a {Path(name).stem}.json beside it",
        )  # fmt: skip
    return scale


def _rows(
    name: str,
    rows: Any,  # noqa: ANN401 - whatever a file holds
    count: int,
) -> tuple[np.ndarray[Any, Any], tuple[tuple[str, int, int], ...], tuple[str, ...]]:
    """Order rows so that each dataset's stand together, in the order of their first rows."""
    if rows is None:
        return np.arange(count), ((NO_DATASET, 0, count),), tuple(str(i) for i in range(count))
    good = isinstance(rows, list) and all(
        isinstance(row, list) and [type(part) for part in row] == [str, str] for row in rows
    )
    if not good or len(rows) != count:
        found = f"rows name {len(rows)} classes" if good else "rows are damaged"
        raise ModelError(name, found, f"{count} pairs of dataset and identity")
    by_dataset: dict[str, list[int]] = {}
    for number, (dataset, _) in enumerate(rows):
        by_dataset.setdefault(dataset, []).append(number)
    ranges, at = [], 0
    for dataset, numbers in by_dataset.items():
        ranges.append((dataset, at, at + len(numbers)))
        at += len(numbers)
    order = np.array([i for numbers in by_dataset.values() for i in numbers])
    return order, tuple(ranges), tuple(rows[i][1] for i in order)
