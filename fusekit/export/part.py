"""The labeled or the unlabeled part of a mixture, as the writers of every format see it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fusekit.errors import MixtureError
from fusekit.export.images import StoredImages, read_images
from fusekit.faces.rewarp import Rewarp
from fusekit.loader.crops.decode import PNG, RAW, CropDecoder, RewarpDecoder
from fusekit.mixture.index import FORMATS, keys_at, open_keys
from fusekit.progress import Progress, Report
from fusekit.rng import derive, permute
from fusekit.schema import MIXTURE_ROWS_SCHEMA
from fusekit.store import layout
from fusekit.store.tables import read_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusekit.loader.crops.decode import Decoder
    from fusekit.mixture.mixture import Mixture

PartName: TypeAlias = Literal["labeled", "unlabeled"]

_AT_ONCE: Final = 65_536
_PNG_OVERHEAD: Final = 1024  # beyond its pixels and a byte a row, however little they shrink


@dataclass(frozen=True, slots=True)
class Crop:
    """One exported sample.

    Attributes:
        name: ``<dataset>-<key>``: unique in the mixture, and a file name on every system.
        suffix: ``jpg`` or ``png``.
        image: The image's file.
        label: Its class; -1: unlabeled.
        source: Its source index in the mixture.
        key: Its key in its dataset.
    """

    name: str
    suffix: str
    image: bytes
    label: int
    source: int
    key: str


@dataclass(frozen=True)
class Part:
    """Rows of a mixture, in the order in which they are exported.

    Attributes:
        mixture: The mixture, opened.
        name: ``labeled`` or ``unlabeled``.
        rows: Rows of the index: labeled by label, then row; unlabeled by row. None is erased.
        erased: Rows that were left out because their images were erased.
    """

    mixture: Mixture
    name: PartName
    rows: npt.NDArray[np.integer]
    erased: int

    @property
    def num_classes(self) -> int:
        """How many labels there are; 0 when unlabeled."""
        return self.mixture.num_classes if self.name == "labeled" else 0

    @property
    def stored_bytes(self) -> int:
        """Bytes of all its images as they are stored."""
        return int(self.mixture.index.length[self.rows].sum(dtype=np.int64))

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each exported image, ``(N,)``; of those that become PNG a bound."""
        width, height = self.mixture.crop_size
        png = 3 * width * height + height + _PNG_OVERHEAD
        return np.where(self._as_png(self.rows), png, self.mixture.index.length[self.rows])

    @property
    def raw(self) -> int:
        """How many images are stored as raw pixels, and exported as PNG."""
        return int(np.count_nonzero(self.mixture.index.format[self.rows] == RAW))

    @property
    def rewarped(self) -> int:
        """How many images are brought to the mixture's template, and exported as PNG."""
        return int(np.count_nonzero(self._is_rewarped(self.rows)))

    @property
    def as_png(self) -> int:
        """How many images are not exported as they are stored, but as PNG."""
        return int(np.count_nonzero(self._as_png(self.rows)))

    @cached_property
    def images(self) -> npt.NDArray[np.int64]:
        """How many images each label has, ``(num_classes,)``."""
        labels = self.mixture.index.label[self.rows]
        return np.bincount(labels, minlength=self.num_classes)

    @cached_property
    def identities(self) -> pa.Array:
        """Whom each of its labeled rows shows, as the row's own dataset names them."""
        mixture = self.mixture
        if mixture.recipe.labels != "merge":
            labels = pa.array(mixture.index.label[self.rows])
            return mixture.classes["identity"].take(labels).combine_chunks()
        # A merged class is described by the first of its identities, which may be another's.
        table = f"{layout.mixture(mixture.name)}/labeled.parquet"
        people = read_table(mixture.store, table, MIXTURE_ROWS_SCHEMA, ["identity"])["identity"]
        return people.take(pa.array(self.rows)).combine_chunks()

    def shuffled(self) -> Part:
        """Give the same rows in an order of chance that follows from the mixture's seed."""
        key = derive(self.mixture.seed, "export", self.name)
        rows, total = np.empty_like(self.rows), len(self.rows)
        for start in range(0, total, _AT_ONCE):  # a permutation's memory is many times its rows'
            places = np.arange(start, min(start + _AT_ONCE, total))
            rows[places] = self.rows[permute(places, total, key)]
        return replace(self, rows=rows)

    def crops(self, report: Report) -> Iterator[Crop]:
        """Read the crops in order.

        Raises:
            StoreError: A shard can't be read, or an image is not what was stored.
        """
        mixture, index, total = self.mixture, self.mixture.index, len(self.rows)
        stored = StoredImages(
            mixture.shard_paths, index, mixture.crop_size, self._decoder, mixture.key
        )
        images = read_images(stored, self.rows)
        keys = open_keys(mixture.path / "keys.arrow")
        for start in range(0, total, _AT_ONCE):
            rows = self.rows[start : start + _AT_ONCE]
            codes = np.where(self._as_png(rows), PNG, index.format[rows])
            columns = [c.tolist() for c in (index.label[rows], index.source[rows], codes)]
            places = zip(keys_at(keys, rows), *columns, strict=True)
            for done, (key, label, source, code) in enumerate(places, start + 1):
                name = f"{mixture.sources[source].name}-{key}"
                yield Crop(name, FORMATS[code], next(images), label, source, key)
                if done % 1024 == 0 or done == total:
                    report(Progress("export", done, total, "images"))

    @cached_property
    def _rewarps(self) -> dict[int, Rewarp]:
        """What brings the crops of a source to the mixture's template, where it has another."""
        template = self.mixture.template
        others = [source for source in self.mixture.sources if source.template != template]
        return {source.index: Rewarp.of(source.template) for source in others}

    def _is_rewarped(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        return np.isin(self.mixture.index.source[rows], list(self._rewarps))

    def _as_png(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        raw: npt.NDArray[np.bool_] = self.mixture.index.format[rows] == RAW
        return raw | self._is_rewarped(rows)

    def _decoder(self, row: int) -> Decoder | None:
        rewarp = self._rewarps.get(int(self.mixture.index.source[row]))
        if rewarp is not None:
            return RewarpDecoder(rewarp)
        if self.mixture.index.format[row] != RAW:
            return None
        width, height = self.mixture.crop_size
        return CropDecoder(height, width)


def select_part(mixture: Mixture, name: PartName) -> Part:
    """Take a part of a mixture, without the images that were erased since it was built.

    Raises:
        MixtureError: It has no such rows.
    """
    if name == "labeled":
        rows: npt.NDArray[np.integer] = mixture.by_class
    else:
        rows = np.arange(mixture.labeled, mixture.labeled + mixture.unlabeled)
    there = rows[mixture.index.length[rows] > 0]
    if not len(there):
        found = f"has no {name} samples" if not len(rows) else f"all its {name} samples are erased"
        raise MixtureError(mixture.name, found)
    return Part(mixture, name, there, len(rows) - len(there))
