"""What an order depends on besides the rows themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import LoaderError
from fusekit.fingerprint import fingerprint

if TYPE_CHECKING:
    from fractions import Fraction

    from fusekit.loader.order.identities import Drawing
    from fusekit.mixture.drawing import Grouping

ORDER_VERSION: Final = 1
BLOCK: Final = 256
WINDOW: Final = 512


@dataclass(frozen=True)
class OrderSettings:
    """Everything that the order depends on besides the rows themselves.

    Attributes:
        seed: Of every permutation and deal.
        global_batch: Samples of one step over all ranks, ``G >= 1``.
        unlabeled_fraction: Share of unlabeled samples, ``0 <= f < 1``.
        weights: One positive integer per labeled source: the sources' shares of the labeled
            samples, each source cycling on its own. None is one pooled stream, in which every
            labeled row comes once per cycle.
        block: Rows that stay together on disk, ``B``. 256 crops are about 1.5 MB: enough for
            one sequential read or range request, and so few that a window mixes many shards.
        window: Blocks that are shuffled together, ``S``. 512 blocks of 256 crops are about
            0.8 GB: what the page cache should hold of each stream. ``tests/bench/order.py``
            prints how well other sizes mix.
        grouping: ``mixed``; ``sub_batches``: the labeled rows of a device batch stand source by
            source; ``one_dataset``: the labeled rows of a step are of one source, the sources
            in turn by ``weights``, or by their rows without.
        sampler: Whole identities instead of single labeled rows; None: single rows.
    """

    seed: int
    global_batch: int
    unlabeled_fraction: Fraction
    weights: tuple[int, ...] | None = None
    block: int = BLOCK
    window: int = WINDOW
    grouping: Grouping = "mixed"
    sampler: Drawing | None = None

    def __post_init__(self) -> None:
        for name in ("global_batch", "block", "window"):
            if getattr(self, name) < 1:
                raise LoaderError("order", f"{name} is {getattr(self, name)}", "at least 1")
        if not 0 <= self.unlabeled_fraction < 1:
            raise LoaderError(
                "order", f"unlabeled_fraction is {self.unlabeled_fraction}", "0 or more, under 1"
            )
        if self.weights is not None and min(self.weights, default=1) < 1:
            raise LoaderError("order", "a weight is under 1", "positive integers")
        if self.grouping == "one_dataset" and self.labeled_per_step.denominator > 1:
            raise LoaderError(
                "grouping",
                f"one_dataset with {self.labeled_per_step} labeled samples in a global batch of "
                f"{self.global_batch}", "a whole number",
                f"make the global batch a multiple of {self.unlabeled_fraction.denominator}",
            )  # fmt: skip
        if self.sampler is not None:
            self._check_sampler(self.sampler)

    @property
    def labeled_per_step(self) -> Fraction:
        """How many labeled samples a global batch has on average: ``G * (1 - f)``."""
        return self.global_batch * (1 - self.unlabeled_fraction)

    def as_json(self) -> dict[str, Any]:
        """Give the settings as JSON values, the fraction as text.

        ``grouping`` and ``sampler.…`` are there only where they are not the default: states that
        were saved before there was any other order stay as they are.
        """
        plain: dict[str, Any] = {
            "version": ORDER_VERSION, "seed": self.seed, "global_batch": self.global_batch,
            "unlabeled_fraction": str(self.unlabeled_fraction),
            "weights": None if self.weights is None else list(self.weights),
            "block": self.block, "window": self.window,
        }  # fmt: skip
        if self.grouping != "mixed":
            plain["grouping"] = self.grouping
        if self.sampler is not None:
            sources = self.sampler.sources
            plain |= {
                "sampler.identities": self.sampler.identities,
                "sampler.images": self.sampler.images,
                # A state is under 1 KB, however many sources are named.
                "sampler.datasets": None if sources is None else fingerprint(list(sources)),
                "sampler.min_images": self.sampler.min_images,
            }
        return plain

    def _check_sampler(self, drawing: Drawing) -> None:
        if self.weights is not None or self.grouping == "one_dataset":
            what = "weights" if self.weights is not None else "one dataset a batch"
            raise LoaderError("order", f"{what} and a sampler of identities", "one of them")
        rows = drawing.identities * drawing.images
        if rows != self.labeled_per_step:
            raise LoaderError(
                "sampler",
                f"{drawing.identities} identities x {drawing.images} images are {rows} rows",
                f"{self.labeled_per_step}, the labeled rows of a global batch",
            )
