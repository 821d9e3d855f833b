"""IJB-B and IJB-C as InsightFace packages them: loose crops, and lists of templates."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.errors import SourceError
from fusekit.readers.item import Item
from fusekit.readers.options import Options, read_options
from fusekit.readers.tables.ijb_lists import Crops, read_crops, read_subjects, read_template_pairs
from fusekit.readers.tables.listed_files import plain_suffix
from fusekit.readers.trees.places import find_folders, join
from fusekit.readers.trees.tree import is_tree, open_tree
from fusekit.readers.trees.tree_reader import TreeReader
from fusekit.readers.trees.walk import look_into

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from fusekit.cards.card import Form, Kind
    from fusekit.readers.trees.tree import Tree
    from fusekit.readers.trees.walk import Entry

_CROPS, _META = "loose_crop", "meta"
_BATCH: Final = 1 << 16
#: What a list is, to its name without the release's prefix.
_CROP_LIST: Final = "face_tid_mid.txt"
_POINT_LIST: Final = "name_5pts_score.txt"
_PAIR_LIST: Final = "template_pair_label.txt"
_SEARCHES: Final = {
    "ijbb": {
        "gallery-1": "1N_gallery_S1.csv",
        "gallery-2": "1N_gallery_S2.csv",
        "probe": "1N_probe_mixed.csv",
    },
    "ijbc": {
        "gallery-1": "1N_gallery_G1.csv",
        "gallery-2": "1N_gallery_G2.csv",
        "probe": "1N_probe_mixed.csv",
    },
}


class IjbOptions(Options):
    """Which of the two it is.

    Attributes:
        release: What the names of its lists begin with.
    """

    release: Literal["ijbb", "ijbc"]


class IjbReader(TreeReader[IjbOptions]):
    """Reader of ``loose_crop`` and ``meta``.

    The identity is the subject that the 1:N lists give a crop's template; without them nobody
    has one, since a template is no identity.
    """

    looks_for = "loose_crop and meta/ijb?_face_tid_mid.txt"
    options = IjbOptions

    def __init__(self, raw: Path, kind: Kind, form: Form) -> None:
        super().__init__(raw, kind, form)
        self._unknown_templates = 0
        self._spelt: dict[str, str] = {}  # crops whose file is spelt otherwise than their row

    @classmethod
    def fits(cls, raw: Path, form: Form) -> bool:
        """Say whether the release's crops and list of templates are found."""
        options, _ = read_options(cls.options, form)
        return is_tree(raw) and bool(_packages(open_tree(raw, Counter()), options.release))

    def items(self) -> Iterator[Item]:
        """List the crops; see :class:`fusekit.readers.item.Reader`."""
        self._ignored.clear()
        self._spelt.clear()
        self._count_beside()
        crops, subjects = self._crops, self._subject_of_rows
        names = crops.table["name"].combine_chunks()
        seen = np.zeros(len(names), np.bool_)
        files = self._tree.files(self._crop_folder)
        while batch := list(islice(files, _BATCH)):
            rows = self._rows_of(names, batch)
            seen[rows[rows >= 0]] = True
            for file, row, points in zip(batch, rows.tolist(), self._points(rows), strict=True):
                if row < 0:
                    yield Item(
                        file.source, file.size, None, offset=file.offset, reject="unlisted",
                        reject_detail=f"not named by {self._list(_CROP_LIST)}",
                    )  # fmt: skip
                else:
                    yield Item(
                        file.source, file.size, subjects[row], offset=file.offset,
                        landmarks=points,
                    )  # fmt: skip
        yield from self._missing(names, seen)

    def tables(self) -> Mapping[str, Iterator[pa.RecordBatch]]:
        """Give the lists as tables; see :class:`fusekit.readers.item.EvaluationReader`."""
        tables = {"templates": self._crops.templates(self._crop_folder, self._spelt)}
        if pairs := self._list(_PAIR_LIST):
            tables["template_pairs"] = self._template_pairs(pairs)
        if len(self._searches):
            tables["searches"] = iter(self._searches.to_batches())
        return tables

    def remarks(self) -> Sequence[str]:
        """Say which lists are not there; see :class:`fusekit.readers.item.RemarkingReader`."""
        wanted = [_POINT_LIST, _PAIR_LIST, *_SEARCHES[self._options.release].values()]
        found = [f"{self._prefixed(name)} is not there" for name in wanted if not self._list(name)]
        if others := self._subjects[1]:
            found.append(f"{others:,} rows of the 1:N lists give a template a second subject")
        if self._unknown_templates:
            found.append(f"{self._unknown_templates:,} pairs name a template without crops")
        return found

    @cached_property
    def _package(self) -> tuple[str, dict[str, str]]:
        packages = _packages(self._tree, self._options.release)
        if not packages:
            wanted = f"{_CROPS} and {_META}/{self._prefixed(_CROP_LIST)}"
            raise SourceError(self._tree.root, "no IJB package was found", wanted)
        return packages[0]

    @property
    def _crop_folder(self) -> str:
        return self._package[0]

    def _list(self, name: str) -> str | None:
        """Give the source of a list of the release; None: it is not there."""
        return self._package[1].get(self._prefixed(name).lower())

    def _prefixed(self, name: str) -> str:
        return f"{self._options.release}_{name}"

    @cached_property
    def _crops(self) -> Crops:
        listed = self._package[1][self._prefixed(_CROP_LIST)]
        return read_crops(self._tree, listed, self._list(_POINT_LIST))

    @cached_property
    def _subjects(self) -> tuple[pa.Table, int]:
        lists = _SEARCHES[self._options.release]
        found = {what: source for what, name in lists.items() if (source := self._list(name))}
        return read_subjects(self._tree, found)

    @property
    def _searches(self) -> pa.Table:
        return self._subjects[0]

    @cached_property
    def _subject_of_rows(self) -> list[str | None]:
        """Give the subject of each listed crop."""
        if self._kind == "unlabeled":
            return [None] * len(self._crops.table)
        first = pc.index_in(
            self._crops.table["template"], self._searches["template"].combine_chunks()
        )
        subjects: list[str | None] = self._searches["subject"].take(first).to_pylist()
        return subjects

    def _points(self, rows: npt.NDArray[np.int64]) -> list[tuple[float, ...] | None]:
        """Give the landmarks of listed crops; None where they are no numbers."""
        if self._crops.landmarks is None:
            return [None] * len(rows)
        points = self._crops.landmarks[rows]
        finite = np.asarray(np.isfinite(points).all(axis=1)).tolist()
        return [tuple(p) if good else None for p, good in zip(points.tolist(), finite, strict=True)]

    @cached_property
    def _plain_names(self) -> pa.Array:
        """Give the names of the crops with their suffixes in lower case."""
        return pa.array(map(plain_suffix, self._crops.table["name"].to_pylist()), pa.string())

    def _rows_of(self, names: pa.Array, files: list[Entry]) -> npt.NDArray[np.int64]:
        """Find the rows of files; -1: none names it. Upper and lower case of suffixes may differ.

        How a file is spelt is kept where its row spells it otherwise.
        """
        spelt = [file.source[len(self._crop_folder) + 1 :] for file in files]
        names_of_files = [unicodedata.normalize("NFC", name) for name in spelt]
        rows = _find(names, pa.array(names_of_files, pa.string()))
        unknown = np.flatnonzero(rows < 0)
        if unknown.size:
            plain = pa.array([plain_suffix(names_of_files[i]) for i in unknown], pa.string())
            for at, row in zip(unknown, _find(self._plain_names, plain), strict=True):
                # Where the very file that is listed is there too, this one is another.
                if row >= 0 and not self._tree.is_file(join(self._crop_folder, names[row].as_py())):
                    rows[at] = row
        for name, row in zip(spelt, rows.tolist(), strict=True):
            if row >= 0 and name != (listed := names[row].as_py()):
                self._spelt.setdefault(listed, name)
        return rows

    def _missing(self, names: pa.Array, seen: npt.NDArray[np.bool_]) -> Iterator[Item]:
        away = pc.unique(names.filter(pa.array(~seen))).sort()
        # A crop of several rows was seen at the first of them alone.
        away = away.filter(pc.invert(pc.is_in(away, value_set=names.filter(pa.array(seen)))))
        subjects, rows = self._subject_of_rows, _find(names, away)
        for name, row in zip(away.to_pylist(), rows.tolist(), strict=True):
            yield Item(
                join(self._crop_folder, name), 0, subjects[row], reject="missing",
                reject_detail=f"named by {self._list(_CROP_LIST)}, but not there",
            )  # fmt: skip

    def _template_pairs(self, source: str) -> Iterator[pa.RecordBatch]:
        known = pc.unique(self._crops.table["template"])
        self._unknown_templates = 0
        for batch in read_template_pairs(self._tree, source):
            both = pc.and_(
                pc.is_in(batch["template_a"], known), pc.is_in(batch["template_b"], known)
            )
            self._unknown_templates += batch.num_rows - (pc.sum(both).as_py() or 0)
            yield batch

    def _count_beside(self) -> None:
        """Count what stands beside the crops, from their folder up to the root."""
        parts = self._crop_folder.split("/")
        for depth in range(len(parts)):
            for entry in self._tree.entries("/".join(parts[:depth])):
                if entry.name == parts[depth]:
                    continue
                if entry.is_folder and entry.name.lower() == _META:
                    for _ in self._tree.entries(entry.source):
                        self._ignored["lists and metadata"] += 1
                else:
                    kind = "folders" if entry.is_folder else "files"
                    self._ignored[f"{kind} beside the package"] += 1


def _packages(tree: Tree, release: str) -> list[tuple[str, dict[str, str]]]:
    """Find the folders of crops, each with the lists beside it by their names in lower case."""
    found = []

    def look(_: str, entries: list[Entry]) -> bool:
        folders = {entry.name.lower(): entry.source for entry in entries if entry.is_folder}
        if not {_CROPS, _META} <= folders.keys():
            return False
        lists = {
            e.name.lower(): e.source for e in look_into(tree, folders[_META]) if not e.is_folder
        }
        if f"{release}_{_CROP_LIST}" in lists:
            found.append((folders[_CROPS], lists))
        return True

    find_folders(tree, look)
    return found


def _find(names: pa.Array, wanted: pa.Array) -> npt.NDArray[np.int64]:
    """Give the first row of each wanted name; -1: none has it."""
    rows = pc.index_in(wanted, value_set=names)
    return np.asarray(rows.fill_null(-1), np.int64)
