"""Fill a batch's memory: read byte ranges, decode, and stand in for rows that give nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from fusekit.errors import LoaderError
from fusekit.faces.rewarp import Rewarp
from fusekit.loader.decode import (
    CropDecoder,
    Decoder,
    Layout,
    Pixels,
    RewarpDecoder,
    UnusableCropError,
)
from fusekit.loader.files import ShardFiles

if TYPE_CHECKING:
    from fusekit.loader.order import Order, Plan
    from fusekit.loader.shuffle import Rows
    from fusekit.mixture.mixture import Mixture

Verify: TypeAlias = Literal["none", "sample"]

_MOST_STAND_INS: Final = 64
_DIGEST_BYTES: Final = 8


@dataclass(frozen=True, order=True)
class BadCrop:
    """A row that gave no pixels and was stood in for.

    Attributes:
        key: The sample.
        shard: File name of its shard.
        reason: ``erased``, ``undecodable``, ``size``, ``short``, ``digest`` or ``format``.
        detail: What was found.
    """

    key: str
    shard: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Draft:
    """A batch while threads fill it: each fills other places, so they share it without locks.

    Attributes:
        plan: What the order gave.
        images: The batch's memory, ``(b, 3, 112, 112)`` or ``(b, 112, 112, 3)``.
        rows: Rows that were read: the plan's, but where another row stood in.
        bad: The rows that were stood in for.
    """

    plan: Plan
    images: Pixels
    rows: Rows
    bad: list[BadCrop] = field(default_factory=list)


class CropReader:
    """Read a mixture's crops, from any number of threads.

    Args:
        mixture: The mixture, opened.
        order: The order that stand-ins follow.
        layout: Of the images.
        verify: ``"sample"`` compares every crop's digest with the index before decoding it.
    """

    def __init__(self, mixture: Mixture, order: Order, layout: Layout, verify: Verify) -> None:
        self._mixture = mixture
        self._index = mixture.index
        self._order = order
        self._layout: Layout = layout
        self._verify = verify
        self._files = ShardFiles(mixture.shard_paths)
        self._width, self._height = mixture.crop_size
        self._templates = [source.template for source in mixture.sources]  # by source index
        others = sorted(set(self._templates) - {mixture.template})
        self._rewarps = {template: Rewarp.of(template) for template in others}

    def draft(self, plan: Plan) -> Draft:
        """Make the empty memory of a batch."""
        size = (self._height, self._width)
        shape = (3, *size) if self._layout == "chw" else (*size, 3)
        return Draft(plan, np.empty((len(plan.rows), *shape), np.uint8), plan.rows.copy())

    def fill(self, draft: Draft, start: int, stop: int) -> None:
        """Read and decode the rows at places ``start`` to ``stop`` of a batch.

        Raises:
            LoaderError: A shard can't be read, or too many rows in succession give no pixels.
        """
        decoders = self._decoders()
        rows = draft.plan.rows[start:stop]
        index = self._index
        named = (index.shard, index.offset, index.length, index.format, index.source)
        columns = [column[rows].tolist() for column in named]
        places = zip(range(start, stop), rows.tolist(), *columns, strict=True)
        for place, row, shard, offset, length, code, source in places:
            try:
                data = self._bytes(row, shard, offset, length)
                decoders[source].decode(data, code, draft.images[place])
            except UnusableCropError as error:
                self._stand_in(draft, place, decoders, error)
            except Exception as error:
                error.add_note(f"while reading {self._where(row)}")
                raise

    def close(self) -> None:
        """Close the shards."""
        self._files.close()

    def _decoders(self) -> list[Decoder]:
        """Make the decoder of each source; those of one template share theirs."""
        plain = CropDecoder(self._height, self._width, self._layout)
        others = {
            template: RewarpDecoder(rewarp, self._layout)
            for template, rewarp in self._rewarps.items()
        }
        return [others.get(template, plain) for template in self._templates]

    def _bytes(self, row: int, shard: int, offset: int, length: int) -> bytes:
        if length <= 0:
            raise UnusableCropError("erased", "its length in the index is 0")
        try:
            data = self._files.read(shard, offset, length)
        except OSError as error:
            raise LoaderError(
                self._where(row), f"can't be read: {error.strerror or error}", None,
                "fusekit verify names every file that is missing or damaged",
            ) from error  # fmt: skip
        if len(data) < length:
            raise UnusableCropError("short", f"{len(data)} of {length} bytes are there")
        if self._verify == "sample":
            found = hashlib.sha256(data).digest()[:_DIGEST_BYTES]
            if found != self._index.digest[row].tobytes():
                raise UnusableCropError("digest", "its bytes are not those that were stored")
        return data

    def _stand_in(
        self, draft: Draft, place: int, decoders: list[Decoder], error: UnusableCropError
    ) -> None:
        """Fill a place with the row at the next position of its stream that gives pixels.

        That position is not consumed: its row comes again in its turn, so no count changes.
        """
        plan, index = draft.plan, self._index
        first = int(plan.rows[place])
        draft.bad.append(self._bad(first, error))
        stream = int(plan.stream[place])
        position = plan.base[stream] + int(plan.ordinal[place])
        # Twice its rows: the next cycle may give a row last that this cycle gave already.
        tries = min(_MOST_STAND_INS, 2 * self._order.streams[stream].rows)
        for row in self._order.rows_at(stream, position + 1, tries):
            try:
                data = self._bytes(
                    row, int(index.shard[row]), int(index.offset[row]), int(index.length[row])
                )
                decoder = decoders[int(index.source[row])]
                decoder.decode(data, int(index.format[row]), draft.images[place])
            except UnusableCropError:
                continue  # counted in its own turn
            draft.rows[place] = row
            return
        raise LoaderError(
            self._where(first), f"is no usable crop ({error.detail})",
            f"one, or one among the {tries} rows after it",
            "fusekit verify names every file that is missing or damaged",
        )  # fmt: skip

    def _bad(self, row: int, error: UnusableCropError) -> BadCrop:
        shard = self._files.paths[int(self._index.shard[row])].name
        return BadCrop(self._mixture.key(row), shard, error.reason, error.detail)

    def _where(self, row: int) -> str:
        return f"{self._mixture.key(row)} in {self._files.paths[int(self._index.shard[row])]}"
