"""How the library tells of its progress: one small callback, shown by whoever passed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        stage: What is being done, a short phrase such as ``"detect and align"``.
        done: How much is done, in ``unit``.
        total: How much there is; None while unknown.
        unit: What is counted: ``"items"``, ``"bytes"``.
        counts: Further counts worth showing, such as ``{"kept": 10, "rejected": 1}``.
    """

    stage: str
    done: int
    total: int | None
    unit: str
    counts: Mapping[str, int] = field(default_factory=dict)


Report: TypeAlias = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Show nothing: the default of every function that reports."""
