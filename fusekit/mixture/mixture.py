"""A built mixture, opened for reading."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow.compute as pc

from fusekit.cards.card import CROP_SIZES
from fusekit.errors import FingerprintError, MixtureError, StoreError
from fusekit.fingerprint import file_sha256
from fusekit.mixture.classes import read_classes
from fusekit.mixture.index import Index, key_at, open_by_class, open_index, open_keys
from fusekit.mixture.recipe import Recipe
from fusekit.mixture.remote import fetch_mixture
from fusekit.mixture.summary import FORMAT_VERSION
from fusekit.schema import MEMBERS_SCHEMA, SHARDS_SCHEMA
from fusekit.storage.url import is_url
from fusekit.store import layout
from fusekit.store.commit import read_record
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from fractions import Fraction

    import numpy.typing as npt
    import pyarrow as pa

    from fusekit.storage.folder import Storage

Verify: TypeAlias = Literal["pins", "files", "none"]


@dataclass(frozen=True)
class Source:
    """One dataset of a mixture.

    Attributes:
        name: The dataset.
        kind: labeled or unlabeled.
        index: Its source index: labeled first, in the recipe's order.
        store_index: Its dataset index in the store.
        rows: Its rows, which follow each other in the index.
        first_row: The first of them.
        fingerprint: The dataset's when the mixture was built.
        template: What its stored crops are aligned to.
    """

    name: str
    kind: Literal["labeled", "unlabeled"]
    index: int
    store_index: int
    rows: int
    first_row: int
    fingerprint: str
    template: str


class Mixture:
    """A built mixture; :meth:`open` opens one.

    Attributes:
        name: Its name.
        path: Its folder; for a mixture in an object store, where its tables are kept here.
        store: The store it stands in. For a mixture in an object store, a folder laid out as
            one, which holds this mixture's tables and nothing else.
        url: URL of the object store it stands in; None for a local one.
        recipe: The recipe it was built by.
        fingerprint: Changes with any row or label.
        sources: Its datasets, labeled first.
        num_classes: How many labels there are.
        labeled: How many labeled rows.
        unlabeled: How many unlabeled rows.
        softmax: ``per_dataset``: each dataset's labels have a softmax of their own; ``joint``:
            one for all.
        template: What the crops are aligned to when they are loaded; those of a source with
            another template are brought to it.
        crop_size: Width and height of the loaded crops in pixels.
    """

    def __init__(
        self, path: Path, store: Storage, about: dict[str, Any], url: str | None = None
    ) -> None:
        self.path, self.store, self.url = path, store, url
        self.name: str = about["name"]
        self.fingerprint: str = about["fingerprint"]
        self.recipe = Recipe.model_validate(about["recipe"])
        self.num_classes: int = about["classes"]
        self.labeled: int = about["labeled"]
        self.unlabeled: int = about["unlabeled"]
        self.softmax: Literal["per_dataset", "joint"] = about["softmax"]
        self.template: str = about["template"]
        width, height = about["crop_size"]
        self.crop_size: tuple[int, int] = (width, height)
        self.sources = tuple(
            Source(
                name=each["dataset"], kind=each["kind"], index=each["dataset_index"],
                store_index=each["store_index"], rows=each["rows"], first_row=each["first_row"],
                fingerprint=each["fingerprint"], template=each.get("template", self.template),
            )
            for each in about["datasets"]
        )  # fmt: skip
        others = {source.template for source in self.sources} - {self.template}
        if others and (self.template != "arcface-112" or others - CROP_SIZES.keys()):
            msg = "crops that can't be brought to the mixture's template"
            raise ValueError(msg)
        ranges: list[list[int]] | None = about["class_ranges"]
        self._ranges = None if ranges is None else [(first, end) for first, end in ranges]
        self._version: int = about["format_version"]
        self._files: dict[str, dict[str, Any]] = about["files"]

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        store: str | os.PathLike[str] | None = None,
        *,
        verify: Verify = "pins",
    ) -> Mixture:
        """Open a mixture.

        A dataset that has only grown since is no fault: the mixture reads what it pinned.

        From an object store, the tables that loading needs are fetched once and kept under
        ``FUSEKIT_CACHE`` (else the user's cache), their digests checked; later only the small
        ``mixture.json`` is asked for. Shards and datasets are not looked at, since there may be
        thousands: every shard's digest is checked when it is fetched.

        Args:
            path: The mixture's folder, its URL (``s3://BUCKET/STORE/mixtures/NAME``, ``gs://``,
                ``https://``), or its name in the store.
            store: The store's path or URL when ``path`` is a name; None takes ``FUSEKIT_STORE``,
                else ``./fusekit-store``.
            verify: ``pins``: files of the mixture and its shards have their sizes, and its
                datasets still hold the shards that it was built from. ``files``: the digests of
                its files too, which reads every table once. ``none``: neither.

        Raises:
            MixtureError: There is no such mixture, it is damaged or of a newer format, or a
                shard of it is missing or of another size.
            FingerprintError: A dataset was ingested anew, or is gone.
            StorageError: The object store can't be read.
            MissingExtraError: It is in an object store and ``fusekit[remote]`` is not installed.

        Example:
            >>> Mixture.open("fusekit-store/mixtures/demo").num_classes  # doctest: +SKIP
            19
        """
        folder = Path(path).expanduser()
        url = _url(os.fspath(path), store)
        if url is not None:
            url, home = fetch_mixture(url, digests=verify == "files")
            folder = home / layout.mixture(folder.name)
        elif folder.name == os.fspath(path) and not (folder / "mixture.json").is_file():
            folder = open_store(store).path(layout.mixture(folder.name))
        about = _read(folder)
        try:
            mixture = cls(folder, open_store(folder.parent.parent), about, url)
        except (KeyError, TypeError, ValueError):
            raise _damaged(folder, "mixture.json is damaged") from None
        if verify != "none" and url is None:
            mixture._check_files(digests=verify == "files")
            mixture._check_pins()
        return mixture

    @property
    def batch_size(self) -> int:
        """Samples in a device batch, as the recipe says."""
        return self.recipe.batch.size

    @property
    def unlabeled_fraction(self) -> Fraction:
        """Share of unlabeled samples in a batch, exactly; 0 without an unlabeled dataset."""
        return self.recipe.unlabeled_fraction

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        return self.recipe.seed

    @property
    def checked_against(self) -> tuple[str, ...]:
        """Evaluation sets whose people were looked for in the training data; empty: none."""
        return () if self.recipe.exclude is None else self.recipe.exclude.evaluation

    @property
    def class_ranges(self) -> npt.NDArray[np.int64]:
        """First label and one past the last of each labeled dataset, ``(K, 2)`` int64.

        Raises:
            MixtureError: Labels of three or more datasets are merged, so they are no ranges.
        """
        if self._ranges is None:
            raise MixtureError(
                self.name, "its labels are merged, so a dataset's labels are no range", None,
                "Mixture.dataset_classes(k) gives those of labeled dataset k",
            )  # fmt: skip
        return np.array(self._ranges, np.int64).reshape(-1, 2)

    def dataset_classes(self, source: int) -> npt.NDArray[np.int64]:
        """Give the labels of a labeled dataset, ascending int64; right for every label policy.

        Args:
            source: Its source index.

        Raises:
            MixtureError: There is no labeled dataset of this number.
        """
        labeled = [each for each in self.sources if each.kind == "labeled"]
        if not 0 <= source < len(labeled):
            found = f"no labeled dataset {source}"
            raise MixtureError(self.name, found, f"0 to {len(labeled) - 1}")
        if self._ranges is not None:
            return np.arange(*self._ranges[source], dtype=np.int64)
        datasets = self.classes["datasets"].combine_chunks()
        mine = pc.equal(datasets.flatten(), labeled[source].name)
        found_at = datasets.value_parent_indices().filter(mine)
        labels: npt.NDArray[np.int64] = found_at.to_numpy().astype(np.int64)
        return labels

    @cached_property
    def classes(self) -> pa.Table:
        """One row for each label, in order: :data:`fusekit.schema.CLASSES`."""
        return read_classes(self.store, self.name, self._version)

    @cached_property
    def members(self) -> pa.Table:
        """Who has each label: :data:`fusekit.schema.MEMBERS`; merged labels have several.

        Raises:
            StorageError: It is not there: loading needs no members, so they are not fetched from
                an object store.
        """
        return read_table(self.store, self._name("members.parquet"), MEMBERS_SCHEMA)

    @cached_property
    def shards(self) -> pa.Table:
        """One row for each shard that is read: :data:`fusekit.schema.SHARDS`."""
        return read_table(self.store, self._name("shards.parquet"), SHARDS_SCHEMA)

    @cached_property
    def shard_names(self) -> list[str]:
        """Name of each shard in the store, by its number in the index."""
        names: list[str] = self.shards["path"].to_pylist()
        return names

    @cached_property
    def shard_paths(self) -> list[Path]:
        """Path of each shard, by its number in the index.

        Raises:
            MixtureError: They are in an object store.
        """
        if self.url is not None:
            raise MixtureError(
                self.name, f"its shards are in {self.url}", "a local store",
                "copy the store here, or read it by MixtureLoader",
            )  # fmt: skip
        return [self.store.path(name) for name in self.shard_names]

    def shard_url(self, shard: int) -> str:
        """Give a shard's URL, or its path in a local store.

        Args:
            shard: Its number in the index.
        """
        if self.url is None:
            return str(self.shard_paths[shard])
        return f"{self.url}/{self.shard_names[shard]}"

    @cached_property
    def index(self) -> Index:
        """Where every row's image stands: columns over a memory map, labeled rows first."""
        return open_index(self.path / "index.arrow")

    @cached_property
    def by_class(self) -> npt.NDArray[np.int32]:
        """The labeled rows sorted by label, then row: ``classes.first_row`` points into it."""
        return open_by_class(self.path / "by_class.arrow")

    def key(self, row: int) -> str:
        """Give the key of a row of the index.

        Raises:
            MixtureError: There is no such row.
        """
        if not 0 <= row < self.labeled + self.unlabeled:
            rows = self.labeled + self.unlabeled
            raise MixtureError(self.name, f"no row {row}", f"0 to {rows - 1}")
        return key_at(self._keys, row)

    @cached_property
    def _keys(self) -> pa.ipc.RecordBatchFileReader:
        return open_keys(self.path / "keys.arrow")

    def _name(self, file: str) -> str:
        return f"{layout.mixture(self.name)}/{file}"

    def _check_files(self, *, digests: bool) -> None:
        for name, about in sorted(self._files.items()):
            path = self.path / name
            if not path.is_file():
                raise _damaged(self.path, f"{name} is missing")
            if path.stat().st_size != about["size"]:
                raise _damaged(self.path, f"{name} has not its {about['size']} bytes")
            if digests and file_sha256(path) != about["sha256"]:
                raise _damaged(self.path, f"{name} has another sha256 than it was built with")

    def _check_pins(self) -> None:
        for source in self.sources:
            try:
                now = open_dataset(self.store, source.name)
            except StoreError as error:
                raise FingerprintError(
                    self.name, f"its dataset {source.name} can't be read ({error.found})", None,
                    "ingest it again under its name, or build the mixture without it",
                ) from None  # fmt: skip
            if now.fingerprint != source.fingerprint:
                self._check_growth(source)
        self._check_shards()

    def _check_shards(self) -> None:
        # By size alone: a shard that is cut short would otherwise be stood in for row by row.
        for path, size in zip(self.shard_paths, self.shards["size"].to_pylist(), strict=True):
            try:
                found = path.stat().st_size
            except OSError:
                found = None
            if found != size:
                what = "is missing" if found is None else f"has {found} bytes"
                raise MixtureError(
                    self.name, f"{path} {what}", f"{size} bytes",
                    "fusekit verify tells what else is damaged",
                )  # fmt: skip

    def _check_growth(self, source: Source) -> None:
        start = f"{layout.dataset(source.name)}/shards/"
        for shard in self.shards.to_pylist():
            if not shard["path"].startswith(start):
                continue
            unit = int(shard["path"].removesuffix(".tar").rpartition("-")[2])
            record = read_record(self.store, source.name, unit)
            if record is None or record.shard_sha256 != shard["sha256"]:
                raise FingerprintError(
                    self.name,
                    f"{source.name} was ingested anew since: {Path(shard['path']).name} differs",
                    f"the dataset of fingerprint {source.fingerprint[:12]}",
                    "build the mixture again",
                )


def _url(path: str, store: str | os.PathLike[str] | None) -> str | None:
    """Give the mixture's URL; None when it is in a local store."""
    if is_url(path):
        return path.rstrip("/")
    local = len(Path(path).parts) != 1 or Path(path, "mixture.json").is_file()
    place = os.fspath(layout.store_place(store))
    return None if local or not is_url(place) else f"{place.rstrip('/')}/{layout.mixture(path)}"


def _read(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads((folder / "mixture.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise MixtureError(
            folder, "holds no finished mixture", None, "fusekit build-mixture RECIPE makes one"
        ) from None
    except (OSError, ValueError):
        raise _damaged(folder, "mixture.json is damaged") from None
    version = about.get("format_version") if isinstance(about, dict) else None
    if not isinstance(version, int):
        raise _damaged(folder, "mixture.json is damaged")
    if about.get("name") != folder.name:
        found = f"holds the mixture {about.get('name')!r}"
        raise MixtureError(folder, found, "the folder's name", "build it under the new name")
    if version > FORMAT_VERSION:
        raise MixtureError(
            folder, f"has mixture format {version}", f"at most {FORMAT_VERSION}", "update fusekit"
        )
    return dict(about)


def _damaged(folder: Path, found: str) -> MixtureError:
    fix = "fusekit build-mixture with --overwrite builds it again"
    return MixtureError(folder, found, None, fix)
