"""Which crops are compared with their digests before they are decoded."""

from __future__ import annotations

import hashlib
import logging
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from fusekit.loader.crops.decode import UnusableCropError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fusekit.loader.crops.files import ShardSource
    from fusekit.mixture.index import Index

Verify: TypeAlias = Literal["none", "sample", "shard"]

_DIGEST_BYTES: Final = 8
_PIECE: Final = 1 << 22
_log = logging.getLogger("fusekit.loader")


class Verifier:
    """Compare what is read with what was stored.

    Args:
        verify: ``"sample"`` compares every crop. ``"shard"`` reads each shard whole once, when
            its first crop is wanted, and compares single crops only of a shard whose digest
            differs; what changes after that is not seen.
        index: The crops' digests.
        shards: sha256 and size of each shard, by number; looked up for ``"shard"`` alone.
        source: Reads them.

    Attributes:
        compares: Whether there is anything to :meth:`check`.
    """

    def __init__(
        self,
        verify: Verify,
        index: Index,
        shards: Callable[[], Sequence[tuple[str, int]]],
        source: ShardSource,
    ) -> None:
        self._verify, self._index, self._source = verify, index, source
        self._shards = shards() if verify == "shard" else ()
        self._locks = [Lock() for _ in self._shards]
        self._sound: dict[int, bool] = {}
        self.compares = verify != "none"

    def check(self, row: int, shard: int, data: bytes | memoryview) -> None:
        """Compare a crop, where it is to be compared.

        Raises:
            UnusableCropError: It differs.
            OSError: The shard can't be read.
        """
        if not self.compares or (self._verify == "shard" and self._is_sound(shard)):
            return
        if hashlib.sha256(data).digest()[:_DIGEST_BYTES] != self._index.digest[row].tobytes():
            raise UnusableCropError("digest", "its bytes are not those that were stored")

    def _is_sound(self, shard: int) -> bool:
        sound = self._sound.get(shard)
        if sound is not None:
            return sound
        with self._locks[shard]:  # the others wait instead of reading it too
            if shard not in self._sound:
                self._sound[shard] = self._compare(shard)
        return self._sound[shard]

    def _compare(self, shard: int) -> bool:
        wanted, size = self._shards[shard]
        digest = hashlib.sha256()
        for start in range(0, size, _PIECE):
            digest.update(self._source.read(shard, start, min(_PIECE, size - start)))
        if digest.hexdigest() == wanted:
            return True
        _log.warning(
            "%s has another sha256 than the mixture was built with: each of its crops is compared",
            self._source.name(shard),
        )
        return False
