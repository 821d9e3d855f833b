"""Statistics of a dataset or a mixture: who is in it, how many images each has, how they look."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np

from fusekit.errors import MixtureError, SqlError
from fusekit.report.spread import Depth, Spread, depth_of, spread_of
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store
from fusekit.store.session import MEMORY_LIMIT, fetch_table, first_line, lock, open_session, scan
from fusekit.store.views import SQL_TYPES

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from fusekit.storage.folder import Storage
    from fusekit.store.datasets import DatasetInfo


@dataclass(frozen=True)
class _Figure:
    """How a column is counted: its unit, steps of the count in one unit, and its bins."""

    unit: str
    steps: int
    edges: tuple[float, ...]


_DOUBLING: Final = (0.0, *(float(2**k) for k in range(3, 14)))
_FIGURES: Final = {
    "eye_distance": _Figure("source pixels", 10, (0, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256,
                                                  384, 512, 1024)),
    "yaw": _Figure("degrees", 10, tuple(range(-90, 91, 10))),
    "sharpness": _Figure("variance of the Laplacian", 1, _DOUBLING),
    "brightness": _Figure("0 to 255", 10, tuple(range(0, 257, 16))),
    "jpeg_quality": _Figure("IJG quality", 1, tuple(range(0, 101, 5))),
    "det_score": _Figure("0 to 1", 1000, tuple(k / 20 for k in range(21))),
}  # fmt: skip
_COUNTED: Final = ("split", "media", "channels", "format")


@dataclass(frozen=True)
class Stats:
    """What a dataset, a mixture or one source of a mixture holds.

    Attributes:
        name: Its name.
        what: ``dataset``, ``mixture`` or ``source``.
        kind: labeled, unlabeled or evaluation; of a mixture: ``mixture``.
        samples: Stored crops; erased ones are not counted.
        identities: Of the release; of a mixture its labels.
        depth: Images per identity: how deep it is, where ``identities`` is how wide; None when
            nobody in it is labeled.
        spreads: ``eye_distance, yaw, sharpness, brightness, jpeg_quality, det_score``.
        counts: ``split``, ``media``, ``channels`` and ``format``, each value to its samples.
        items: Raw items; None for a mixture, as the three below.
        rejects: Reason to count, of items that gave no sample.
        faces_left_out: Faces of kept items that are no samples.
        parts: A mixture's sources, labeled first.
    """

    name: str
    what: str
    kind: str
    samples: int
    identities: int
    depth: Depth | None
    spreads: tuple[Spread, ...]
    counts: dict[str, dict[str, int]]
    items: int | None = None
    rejects: dict[str, int] | None = None
    faces_left_out: int | None = None
    parts: tuple[Stats, ...] = ()

    @property
    def grey_share(self) -> float | None:
        """Share of the samples that are grey; None when there are none."""
        grey = self.counts["channels"].get("grey", 0)
        return round(grey / self.samples, 4) if self.samples else None

    def spread(self, name: str) -> Spread:
        """Give the spread of one figure by its column's name."""
        return next(spread for spread in self.spreads if spread.name == name)

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit stats --json`` prints."""
        return {
            self.what: self.name, "kind": self.kind, "samples": self.samples,
            "identities": self.identities, "items": self.items, "rejects": self.rejects,
            "faces_left_out": self.faces_left_out, "grey_share": self.grey_share,
            "images_per_identity": self.depth.as_json() if self.depth else None,
            "spreads": {spread.name: spread.as_json() for spread in self.spreads},
            "counts": self.counts, "parts": [part.as_json() for part in self.parts],
        }  # fmt: skip


def collect_stats(
    name: str,
    store: str | os.PathLike[str] | None = None,
    *,
    memory_limit: str = MEMORY_LIMIT,
    threads: int | None = None,
) -> Stats:
    """Count what a dataset or a mixture holds.

    All of it comes from the manifests by counting distinct values, so memory does not grow with
    the samples, and the same store gives the same figures on any number of threads. Quantiles are
    exact to the grid of the count: 0.1 of a pixel, a degree or a grey level, 1 of a sharpness,
    0.001 of a detector's score.

    Args:
        name: Of a dataset, else of a mixture.
        store: The store's path; None takes ``FUSEKIT_STORE``, else ``./fusekit-store``.
        memory_limit: What DuckDB may use, such as ``"2GB"``.
        threads: How many; None takes one for each core.

    Raises:
        StoreError: There is no store, or nothing of this name in it.
        MixtureError: The mixture's record is damaged.
        SqlError: A manifest can't be read.

    Example:
        >>> collect_stats("vggface2", "faces").depth.mean  # doctest: +SKIP
        362.6
    """
    storage = open_store(store)
    where = f"{layout.mixture(name)}/mixture.json"
    if storage.exists(layout.dataset_json(name)) or not storage.exists(where):
        info = open_dataset(storage, name)
        files = [storage.path(file).absolute() for file in info.files]
        counted = _Counter(name, files, "identity_index", "0", memory_limit, threads)
        return counted.count(_of_dataset(info), [0])
    try:
        about = json.loads(storage.read(where))
        blank, parts = _of_mixture(name, about)
    except (ValueError, KeyError, TypeError):
        raise MixtureError(where, "is damaged", None, "build the mixture again") from None
    counter = _Counter(
        name, _mixture_files(storage, name), "label", "source_index", memory_limit, threads
    )
    every = [number for number, _ in parts]
    sources = [counter.count(part, [number]) for number, part in parts]
    wide = [s.depth.identities if s.depth else 0 for s in sources]
    named = tuple(replace(s, identities=n) for s, n in zip(sources, wide, strict=True))
    return replace(counter.count(blank, every), parts=named)


class _Counter:
    """Counts over some manifests, in a session of DuckDB that sees nothing else."""

    def __init__(
        self, name: str, files: Sequence[Path], who: str, part: str, memory_limit: str,
        threads: int | None,
    ) -> None:  # fmt: skip
        self._name, self._files, self._threads = name, files, threads
        self._memory_limit = memory_limit
        columns = [*_FIGURES, *_COUNTED]
        rows = f"FROM {scan(files)} WHERE length > 0" if files else "WHERE false"
        spelt = [f'"{c}"' if files else f'NULL::{_type_of(c)} AS "{c}"' for c in columns]
        who, part = (who, part) if files else ("0", "0")
        # Names of the schema and paths that scan() spells: nothing of the user's is in it.
        self._view = (
            f"CREATE VIEW rows AS SELECT {', '.join(spelt)}, {who} AS who, {part} AS part {rows}"
        )

    def count(self, blank: Stats, parts: list[int]) -> Stats:
        """Fill in what the manifests say of some sources."""
        try:
            with open_session(
                self._files, memory_limit=self._memory_limit, threads=self._threads
            ) as connection:
                connection.execute(self._view)
                lock(connection)
                return _counted(connection, blank, parts)
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.Error as error:
            raise SqlError(
                self._name, first_line(error), None, "fusekit verify tells what is damaged"
            ) from None


def _counted(connection: duckdb.DuckDBPyConnection, blank: Stats, parts: list[int]) -> Stats:
    def ask(name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        table = fetch_table(connection, _statements()[name], [parts])
        values = table.column(0).to_numpy()
        return values, table.column(table.num_columns - 1).to_numpy().astype(np.int64)

    images, people = ask("images")
    spreads = []
    for name, figure in _FIGURES.items():
        values, counts = ask(name)
        spreads.append(spread_of(name, figure.unit, values / figure.steps, counts, figure.edges))
    counted = {}
    for name in _COUNTED:
        values, counts = ask(name)
        counted[name] = dict(zip(map(str, values), counts.tolist(), strict=True))
    return replace(
        blank, samples=int(ask("samples")[1][0]), spreads=tuple(spreads), counts=counted,
        depth=depth_of(images.astype(np.int64), people) if len(images) else None,
    )  # fmt: skip


def _type_of(column: str) -> str:
    return SQL_TYPES[MANIFEST_SCHEMA.field(column).type]


@cache
def _statements() -> dict[str, str]:
    """Give the statements of stats.sql by their names."""
    text = (resources.files("fusekit.report") / "stats.sql").read_text("utf-8")
    parts = text.split("-- name: ")[1:]
    return {part.split("\n", 1)[0].strip(): part.split("\n", 1)[1] for part in parts}


def _of_dataset(info: DatasetInfo) -> Stats:
    return Stats(
        name=info.name, what="dataset", kind=info.kind, samples=0, identities=info.identities,
        depth=None, spreads=(), counts={}, items=info.items, rejects=dict(info.rejects),
        faces_left_out=info.faces_left_out,
    )  # fmt: skip


def _of_mixture(name: str, about: dict[str, Any]) -> tuple[Stats, list[tuple[int, Stats]]]:
    whole = Stats(
        name=name, what="mixture", kind="mixture", samples=0, identities=about["classes"],
        depth=None, spreads=(), counts={},
    )  # fmt: skip
    parts = []
    for source in about["datasets"]:
        part = replace(whole, name=source["dataset"], what="source", kind=source["kind"])
        parts.append((int(source["dataset_index"]), part))
    return whole, parts


def _mixture_files(storage: Storage, name: str) -> list[Path]:
    files = [
        storage.path(f"{layout.mixture(name)}/{kind}.parquet").absolute()
        for kind in ("labeled", "unlabeled")
    ]
    for file in files:
        if not file.is_file():
            raise MixtureError(
                name, f"{file.name} is missing", None,
                "fusekit build-mixture with --overwrite builds it again",
            )  # fmt: skip
    return files
