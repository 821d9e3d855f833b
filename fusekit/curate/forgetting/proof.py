"""Prove an erasure: look for what was erased in every byte of the store.

Of the crops, 16 bytes at every place are remembered as a digest; every file is then read at every
49th byte, so that no 64 bytes in a row of a crop can be missed. The heads of files, and what is of
few different values (flat areas, padding), all pictures share: they say nothing. Texts are compared
with the cells of every table and every text of the JSON files.
"""

from __future__ import annotations

import json
import mmap
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from fusekit.curate.forgetting.derived import texts_of
from fusekit.progress import Progress, Report
from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.store import layout
from fusekit.store.erasure import PERSON_COLUMNS, each_of
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fusekit.curate.forgetting.journal import DatasetErasure, Journal
    from fusekit.curate.forgetting.targets import Target
    from fusekit.storage.folder import Storage
    from fusekit.store.erasure import Gone

    Words = npt.NDArray[np.uint64]

_WINDOW, _WORD = 64, 16
_STEP: Final = _WINDOW - _WORD + 1
_LEAST_VALUES: Final = 12  # different bytes of 16; a compressed picture has 15.5 on average
_MOST_BYTES: Final = 64 << 20  # of crops: 8 times as much memory; of more, not every crop
_AT_ONCE: Final = 1 << 20
_BITS: Final = 24
_LEAST_VARIED: Final = 24  # words of a window's 49 that have so many different bytes
#: What stands before a picture's own data, and how much of what follows is alike in all pictures.
_STARTS: Final = {"jpg": (b"\xff\xda", 14), "png": (b"IDAT", 8), "npy": (b"\n", 1)}
_TEXT_IN_SHARD: Final = re.compile(rb'"(?:identity|source)":("(?:[^"\\]|\\.)*")')


@dataclass
class Evidence:
    """What is looked for after the erasure; it is taken before.

    Attributes:
        words: Digests of 16 bytes each, sorted; they can't be turned back into the bytes.
        texts: Dataset to what its rows said: identities, their names, sources.
    """

    words: Words = field(default_factory=lambda: np.empty(0, np.uint64))
    texts: dict[str, set[str]] = field(default_factory=dict)


def take_evidence(storage: Storage, targets: Sequence[Target], journal: Journal) -> Evidence:
    """Remember what is about to be erased, as far as it still stands.

    Args:
        storage: The store.
        targets: What is erased; empty where an interrupted erasure is gone on with.
        journal: Where it stands.
    """
    evidence = Evidence()
    for target in targets:
        texts = set(target.sources.values()) | set(target.people.values())
        evidence.texts[target.info.name] = texts | _names(storage, target)
    size = sum(m[2] for each in journal.datasets for u in each.units for m in u.members[::2])
    every = max(1, -(-size // _MOST_BYTES))
    images = (image for each in journal.datasets for image in _images(storage, each))
    found = [_words_of(image) for image in islice(images, 0, None, every)]
    if found:
        evidence.words = np.unique(np.concatenate(found))
    return evidence


def find_left(
    storage: Storage, evidence: Evidence, journal: Journal, gone: Sequence[Gone], report: Report
) -> list[str]:
    """Look for what was erased in every file of the store.

    Args:
        storage: The store.
        evidence: What is looked for.
        journal: Where it stood.
        gone: Whose texts they are: a second person of a class is one of them.
        report: Told of progress.

    Returns:
        Names of the files that still hold some of it; none proves that it is gone.

    Raises:
        StorageError: A table is damaged.
    """
    left = {name for each in journal.datasets for name in _not_zero(storage, each)}
    files = sorted(p for p in storage.root.rglob("*") if p.is_file() and ".locks" not in p.parts)
    table = np.zeros(1 << _BITS, np.bool_)
    table[evidence.words >> np.uint64(56 - _BITS)] = True
    common = _of_others(storage, evidence)
    for number, path in enumerate(files):
        name = path.relative_to(storage.root).as_posix()
        if (
            _holds_words(path, evidence.words, table)
            or _holds_text(storage, name, evidence.texts, common)
            or _names_split_off(storage, name, gone)
        ):
            left.add(name)
        report(Progress("prove", number + 1, len(files), "files"))
    return sorted(left)


def _names(storage: Storage, target: Target) -> set[str]:
    name = layout.identities(target.info.name)
    if not target.people or not storage.exists(name):
        return set()
    rows = read_table(storage, name, IDENTITIES_SCHEMA)
    numbers = pa.array(sorted(target.people), pa.int32())
    mine = rows.filter(pc.is_in(rows["identity_index"], value_set=numbers))
    return {text for text in mine["name"].to_pylist() if text}


def _images(storage: Storage, erasure: DatasetErasure) -> Iterator[tuple[str, bytes]]:
    for unit in erasure.units:
        if not unit.members:
            continue
        with storage.path(layout.shard(erasure.dataset, unit.unit)).open("rb") as file:
            for name, offset, length in unit.members[::2]:
                file.seek(offset)
                yield name, file.read(length)


def _not_zero(storage: Storage, erasure: DatasetErasure) -> Iterator[str]:
    """Give the shards in which a member of the erasure has a byte left."""
    for unit in erasure.units:
        name = layout.shard(erasure.dataset, unit.unit)
        if not unit.members:
            continue
        with storage.path(name).open("rb") as file:
            for _, offset, length in unit.members:
                file.seek(offset)
                if file.read(length).strip(b"\0"):
                    yield name


def _words_of(image: tuple[str, bytes]) -> Words:
    """Digest the words of a crop's data."""
    name, data = image
    mark, skipped = _STARTS[name.rpartition(".")[2]]
    body = np.frombuffer(data, np.uint8)[max(data.find(mark), 0) + skipped :]
    if len(body) < _WORD:
        return np.empty(0, np.uint64)
    return _digest(np.ascontiguousarray(sliding_window_view(body, _WORD)))


def _is_varied(words: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Say which of ``(n, 16)`` bytes have enough different values to be a picture's own."""
    ordered = np.sort(words, axis=1)
    values = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
    return np.asarray(values >= _LEAST_VALUES)


def _digest(windows: npt.NDArray[np.uint8]) -> Words:
    """Digest ``(n, 16)`` bytes to 56 bits each: too few to be turned back."""
    halves = windows.view("<u8")
    first, second = halves[:, 0].copy(), halves[:, 1].copy()
    first *= np.uint64(0x9E3779B97F4A7C15)
    first ^= first >> np.uint64(29)
    first += second
    first *= np.uint64(0xBF58476D1CE4E5B9)
    first ^= first >> np.uint64(32)
    first *= np.uint64(0x94D049BB133111EB)
    return np.asarray(first >> np.uint64(8))


def _holds_words(path: Path, words: Words, table: npt.NDArray[np.bool_]) -> bool:
    size = path.stat().st_size
    if not len(words) or size < _WORD:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        count = (size - _WORD) // _STEP + 1
        for first in range(0, count, _AT_ONCE):
            many = min(_AT_ONCE, count - first)
            begin = first * _STEP
            data = np.frombuffer(mapped[begin : begin + (many - 1) * _STEP + _WORD], np.uint8)
            places = as_strided(data, (many, _WORD), (_STEP, 1))
            found = _digest(np.ascontiguousarray(places))
            likely = np.flatnonzero(table[found >> np.uint64(56 - _BITS)])
            likely = likely[_among(found[likely], words) & _is_varied(places[likely])]
            for place in (begin + likely * _STEP).tolist():
                around = mapped[max(0, place - _STEP + 1) : place + _WINDOW]
                if _is_copied(np.frombuffer(around, np.uint8), words):
                    return True
    return False


def _is_copied(around: npt.NDArray[np.uint8], words: Words) -> bool:
    """Say whether 64 bytes in a row are a crop's, and say something."""
    if len(around) < _WINDOW:
        return False
    places = np.ascontiguousarray(sliding_window_view(around, _WORD))
    known, varied = _among(_digest(places), words), _is_varied(places)
    runs = sliding_window_view(known, _STEP).all(axis=1)
    return bool((runs & (sliding_window_view(varied, _STEP).sum(axis=1) >= _LEAST_VARIED)).any())


def _among(found: Words, words: Words) -> npt.NDArray[np.bool_]:
    at = np.minimum(np.searchsorted(words, found), len(words) - 1)
    return np.asarray(words[at] == found)


def _of_others(storage: Storage, evidence: Evidence) -> set[str]:
    """Give the texts that other datasets have as identities of their own: those say nothing."""
    wanted = {text for texts in evidence.texts.values() for text in texts}
    common: set[str] = set()
    for name in storage.names("datasets"):
        if name in evidence.texts or not storage.exists(layout.identities(name)):
            continue
        rows = read_table(storage, layout.identities(name), IDENTITIES_SCHEMA)
        for column in ("identity", "name"):
            common |= wanted & set(rows[column].to_pylist())
    return common


def _holds_text(storage: Storage, name: str, texts: dict[str, set[str]], common: set[str]) -> bool:
    dataset = next((d for d in texts if name.startswith(f"{layout.dataset(d)}/")), None)
    if name.startswith("datasets/") and dataset is None:
        return False  # its rows say what its own makers said
    if name.endswith(".parquet"):
        return _table_holds(storage, name, texts, dataset, common)
    mine = texts[dataset] if dataset else set[str]().union(*texts.values()) - common
    if name.endswith(".json"):
        return not mine.isdisjoint(texts_of(json.loads(storage.read(name))))
    if name.endswith(".tar") and dataset:
        said = set(_TEXT_IN_SHARD.findall(storage.read(name)))
        return not mine.isdisjoint(map(json.loads, said))
    return False


def _names_split_off(storage: Storage, name: str, gone: Sequence[Gone]) -> bool:
    """Say whether a mixture's table names a second person of an erased class."""
    if not (name.startswith("mixtures/") and name.endswith(".parquet")):
        return False
    with pq.ParquetFile(storage.path(name)) as file:
        if not {"dataset", "identity"} <= set(file.schema_arrow.names):
            return False
        return any(
            dataset == each.dataset and text is not None and each.index_of(text) is not None
            for batch in file.iter_batches(columns=["dataset", "identity"])
            for dataset, text in zip(*(column.to_pylist() for column in batch), strict=True)
            for each in gone
        )


def _table_holds(
    storage: Storage, name: str, texts: dict[str, set[str]], dataset: str | None, common: set[str]
) -> bool:
    with pq.ParquetFile(storage.path(name)) as file:
        columns = [f.name for f in file.schema_arrow if pa.types.is_string(f.type)]
        for batch in file.iter_batches(columns=columns):
            for of_dataset, wanted in texts.items():
                if dataset == of_dataset:
                    common = set()
                if dataset in (None, of_dataset) and _rows_hold(batch, of_dataset, wanted, common):
                    return True
    return False


def _rows_hold(batch: pa.RecordBatch, dataset: str, wanted: set[str], common: set[str]) -> bool:
    for column in batch.schema.names:
        of_dataset = PERSON_COLUMNS.get(column, "dataset")
        told = of_dataset in batch.schema.names  # else the row may be another dataset's
        found = pc.is_in(batch[column], value_set=each_of(wanted if told else wanted - common))
        if told:
            found = pc.and_(found, pc.equal(batch[of_dataset], dataset))
        if pc.any(found).as_py():
            return True
    return False
