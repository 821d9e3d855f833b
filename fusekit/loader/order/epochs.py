"""Epochs: runs of steps that follow each other without a gap, of an exact mean length."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from fusekit.mixture.drawing import EpochsValue, Steps

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Epochs:
    """Epoch e is the steps from ``ceil(e * X)`` to before ``ceil((e + 1) * X)``.

    What does not fill a step is so carried into the next epoch. With X under one step there are
    epochs without a step.

    Attributes:
        length: X, in steps, over 0.

    Example:
        >>> epochs = Epochs(Fraction(5, 2))
        >>> [epochs.start(e) for e in range(4)], [epochs.of(t) for t in range(6)]
        ([0, 3, 5, 8], [0, 0, 0, 1, 1, 2])
    """

    length: Fraction

    @classmethod
    def under(cls, policy: EpochsValue, cycle: Fraction, passes: Iterable[Fraction]) -> Epochs:
        """Make the epochs of a policy.

        Args:
            policy: ``cycle``, ``stop_first`` or a number of steps.
            cycle: Steps in which as many labeled rows are drawn as there are.
            passes: For each stream that is drawn from, the steps in which it is drawn once.
        """
        match policy:
            case "cycle":
                return cls(cycle)
            case "stop_first":
                return cls(min(passes))
            case Steps(steps):
                return cls(Fraction(steps))

    def start(self, epoch: int) -> int:
        """Give the first step of an epoch; the epoch ends where the next one starts."""
        return -(-epoch * self.length.numerator // self.length.denominator)

    def of(self, step: int) -> int:
        """Give the epoch that a step lies in."""
        return step * self.length.denominator // self.length.numerator
