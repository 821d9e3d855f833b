"""Batches of whole identities: P identities with K images each on every device.

The classes are gone through in visits, each in another permutation. A visit is whole steps: what
is left of the classes once no global batch of them can be filled waits for the next visit. So no
identity comes twice in a step. In each visit an identity gives K images; cycles through its images
begin with a visit, so that the K are different wherever it has that many.

The names are those of the design: ``Pg = P * W`` identities in a global batch of ``W`` ranks, ``K``
images of each, ``C`` classes to draw from, ``n`` images of a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from fusekit.errors import LoaderError
from fusekit.rng import U64, derive, permute, rank_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fusekit.loader.order.shuffle import Rows

_LIMB: Final = 31  # bits taken at once of a number of any size
_MASK: Final = (1 << 64) - 1
_CHUNK: Final = 256


@dataclass(frozen=True)
class Drawing:
    """What identities a global batch holds; part of an order's settings.

    Attributes:
        identities: In a global batch, ``Pg``: it stays when the world size changes.
        images: Of each identity, ``K``.
        sources: Labeled sources to draw from, ascending; None: all.
        min_images: Classes of fewer images are left out.
    """

    identities: int
    images: int
    sources: tuple[int, ...] | None = None
    min_images: int = 1

    def __post_init__(self) -> None:
        for name in ("identities", "images", "min_images"):
            if getattr(self, name) < 1:
                raise LoaderError("sampler", f"{name} is {getattr(self, name)}", "at least 1")


@dataclass(frozen=True, eq=False)
class ClassRows:
    """Which rows each class has, as a mixture's tables say it.

    Attributes:
        images: Rows of each class, ``(classes,)``; a class's place is its label.
        first: Where they begin in ``rows``, ``(classes,)``.
        rows: Labeled rows, sorted by class.
        sources: Labels of each labeled source, ascending; merged labels are of several.
    """

    images: npt.NDArray[np.integer]
    first: npt.NDArray[np.integer]
    rows: npt.NDArray[np.integer]
    sources: Sequence[npt.NDArray[np.integer]]


class Identities:
    """The identities of every step, and their images.

    Args:
        classes: Which rows each class has.
        drawing: How many of which.
        seed: Of every permutation.

    Attributes:
        classes: How many classes are drawn from, ``C``.
        left_out: How many are not: of another source, or of too few images.
        steps: Steps of a visit, ``C // Pg``.
        per_source: Classes that are drawn from, by source.

    Raises:
        LoaderError: There are fewer classes than a global batch holds.
    """

    def __init__(self, classes: ClassRows, drawing: Drawing, seed: int) -> None:
        chosen = classes.images >= drawing.min_images
        if drawing.sources is not None:
            asked = np.zeros(len(chosen), bool)
            for source in drawing.sources:
                asked[classes.sources[source]] = True
            chosen &= asked
        self._labels = np.flatnonzero(chosen)
        self._images = np.asarray(classes.images[self._labels], np.int64)
        self._first = np.asarray(classes.first[self._labels], np.int64)
        self._rows = classes.rows
        self._drawing, self._seed = drawing, seed
        self._image_seed = derive(seed, "images")
        self._look_seed = derive(seed, "identities", "augment")
        self.classes, self.left_out = len(self._labels), len(chosen) - len(self._labels)
        self.steps = self.classes // drawing.identities
        self.per_source = [int(np.count_nonzero(chosen[mine])) for mine in classes.sources]
        if not self.steps:
            raise LoaderError(
                "sampler", f"{self.classes} identities to draw from",
                f"at least {drawing.identities}, those of one global batch",
                "lower sampler.identities, sampler.min_images or the number of ranks",
            )  # fmt: skip

    def ordinals(self, rank: int, world_size: int) -> Rows:
        """Give the places that a rank gets of a step's list of images.

        The list has ``Pg * K`` places, the K of an identity in succession.

        Raises:
            LoaderError: The world size does not divide ``Pg``.
        """
        if self._drawing.identities % world_size:
            raise LoaderError(
                "world_size", f"{world_size} does not divide the identities of a global batch",
                str(self._drawing.identities),
            )  # fmt: skip
        slots = np.arange(rank, self._drawing.identities, world_size, dtype=np.int64)
        images = self._drawing.images
        return (slots[:, None] * images + np.arange(images)).ravel()

    def draw(self, step: int, ordinals: Rows) -> tuple[Rows, U64]:
        """Give a rank's rows of a step, and their augmentation keys.

        Args:
            step: Any step.
            ordinals: From :meth:`ordinals`, ``(P * K,)``.

        Returns:
            ``(P * K,)`` each.
        """
        images = self._drawing.images
        visit, at = self._classes(step, ordinals[::images] // images)
        n = self._images[at]
        cycle, place = self._cycles(visit, n)
        label = np.repeat(self._labels[at], images).astype(np.uint64)
        key = rank_words(np.stack([label, cycle], 1), self._image_seed)
        image = permute(place, np.repeat(n, images), key).astype(np.int64)
        rows = self._rows[np.repeat(self._first[at], images) + image].astype(np.int64)
        # An ordinal may pass 2**64; keys take integers modulo that.
        ordinal = np.full((len(at), images), (visit * images) & _MASK, np.uint64)
        ordinal += np.arange(images, dtype=np.uint64)
        return rows, rank_words(np.stack([label, ordinal.ravel()], 1), self._look_seed)

    def others(self, step: int, ordinal: int) -> Iterator[int]:
        """Give the other images of a row's class, each once: those after it in its cycle first.

        Args:
            step: A step.
            ordinal: The row's place in the step's list of images.
        """
        slot, image = divmod(ordinal, self._drawing.images)
        visit, at = self._classes(step, np.array([slot]))
        n, first, label = int(self._images[at[0]]), int(self._first[at[0]]), self._labels[at]
        cycle, place = self._cycles(visit, self._images[at])
        words = np.stack([label.astype(np.uint64), cycle[image : image + 1]], 1)
        key = rank_words(words, self._image_seed)
        for start in range(1, n, _CHUNK):
            after = np.arange(start, min(start + _CHUNK, n)) + int(place[image])
            yield from self._rows[first + permute(after % n, n, key).astype(np.int64)].tolist()

    def _classes(self, step: int, slots: Rows) -> tuple[int, Rows]:
        """Give the visit of a step, and the places of its slots' classes among those chosen."""
        visit, turn = divmod(step, self.steps)
        key = derive(self._seed, "identities", visit)
        place = permute(turn * self._drawing.identities + slots, self.classes, key)
        return visit, place.astype(np.int64)

    def _cycles(self, visit: int, n: Rows) -> tuple[U64, U64]:
        """Give cycle (modulo 2**64) and place in it of each class's K images: ``(P * K,)``.

        With ``n >= K`` a cycle is ``n // K`` visits of K places; the few images that are over
        are others in each cycle. With ``n < K`` each visit is ``ceil(K / n)`` cycles, the last
        one cut off, so that each image comes ``K // n`` or ``ceil(K / n)`` times.
        """
        images = self._drawing.images
        visits = np.maximum(n // images, 1)
        cycle, turn = _divmod(visit, visits)
        laps = -(-images // n)  # 1 where n >= K
        lap, place = np.divmod(np.arange(images, dtype=np.int64), n[:, None])
        cycles = (cycle * laps.astype(np.uint64))[:, None] + lap.astype(np.uint64)
        return cycles.ravel(), (turn[:, None] * images + place).astype(np.uint64).ravel()


def _divmod(number: int, by: Rows) -> tuple[U64, Rows]:
    """Divide a number of any size by each of many under 2**31; quotients modulo 2**64."""
    quotient, rest = np.zeros(len(by), np.uint64), np.zeros(len(by), np.int64)
    for shift in range((number.bit_length() // _LIMB) * _LIMB, -1, -_LIMB):
        digit, rest = np.divmod((rest << _LIMB) | (number >> shift & ((1 << _LIMB) - 1)), by)
        quotient = (quotient << np.uint64(_LIMB)) + digit.astype(np.uint64)
    return quotient, rest
