"""Judge a filter by a table that says who is known: recall and precision."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusekit.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

_KNOWN: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class Judged:
    """What a filter got right, of the samples that a truth file names.

    Attributes:
        known: Samples of known people.
        strangers: Samples of others.
        known_dropped: Known people's samples that are dropped.
        strangers_kept: Strangers' samples that are kept.
        recall: ``known_dropped`` of ``known``; None without any.
        precision: Known people's share of what is dropped; None when nothing is.
    """

    known: int
    strangers: int
    known_dropped: int
    strangers_kept: int
    recall: float | None
    precision: float | None

    def as_json(self) -> dict[str, Any]:
        """Give it as an object of these names."""
        return asdict(self)


def read_truth(path: str | os.PathLike[str]) -> dict[str, bool]:
    """Read a CSV file with the columns ``key`` and ``known`` (1 or 0, true or false, yes or no).

    Returns:
        Key to whether it shows a known person.

    Raises:
        UsageError: The file is not there, has other columns, or a line that can't be.
    """
    where = f"--truth {path}"
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"key", "known"} <= set(rows.fieldnames or ()):
                raise UsageError(
                    where, f"has the columns {', '.join(rows.fieldnames or ()) or 'none'}",
                    "key and known",
                )  # fmt: skip
            truth: dict[str, bool] = {}
            for row in rows:
                key, said = row["key"], (row["known"] or "").strip().lower()
                line = f"{where}:{rows.line_num}"
                if said not in _KNOWN:
                    raise UsageError(line, f"known is {row['known']!r}", "1 or 0")
                if truth.setdefault(key, _KNOWN[said]) != _KNOWN[said]:
                    raise UsageError(line, f"{key} is both known and not", "each key once")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(where, f"can't be read ({reason})", "a CSV file") from None
    return truth


def judge(keys: Sequence[str], out: npt.NDArray[np.bool_], truth: dict[str, bool]) -> Judged:
    """Compare what is dropped with the truth; samples that it does not name do not count.

    Args:
        keys: ``(N,)`` of the samples.
        out: ``(N,)``, True where a sample is dropped.
        truth: From :func:`read_truth`.

    Raises:
        UsageError: It names none of the samples.
    """
    told = np.array([truth.get(key, -1) for key in keys], np.int8)
    known, strangers = told == 1, told == 0
    if not (known | strangers).any():
        raise UsageError("--truth", "names no sample of the dataset", "its keys")
    hit, miss = int((known & out).sum()), int((strangers & out).sum())
    return Judged(
        known=int(known.sum()), strangers=int(strangers.sum()), known_dropped=hit,
        strangers_kept=int(strangers.sum()) - miss,
        recall=round(hit / int(known.sum()), 6) if known.any() else None,
        precision=round(hit / (hit + miss), 6) if hit + miss else None,
    )  # fmt: skip
