"""How far an order has gone through each dataset."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceUsage:
    """How a source was used by all steps before one, over all ranks.

    Attributes:
        source: Its source index.
        rows: Its rows.
        drawn: How many of its rows were given out, repetitions counted.
        exact: Whether ``drawn`` is exact. In the pooled stream it is at the end of each cycle;
            within one it is taken in proportion, as it is for identities.
        repeated: Those among them that had been given out before: ``drawn - rows``, at least 0.
        left_over: Rows not given out yet: ``rows - drawn``, at least 0. Identities come with as
            many images each, so there it is a lower bound, and so is ``repeated``.

    Example:
        >>> usage = SourceUsage(0, 20, 50, True)
        >>> usage.passes, usage.repeated, usage.left_over
        (2.5, 30, 0)
    """

    source: int
    rows: int
    drawn: int
    exact: bool

    @property
    def passes(self) -> float:
        """How often the source was gone through."""
        return self.drawn / self.rows

    @property
    def repeated(self) -> int:
        """Rows given out again."""
        return max(0, self.drawn - self.rows)

    @property
    def left_over(self) -> int:
        """Rows not given out yet."""
        return max(0, self.rows - self.drawn)
