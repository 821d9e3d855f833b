"""A fault in a store: where, and what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from fusekit.errors import FusekitError
from fusekit.fingerprint import file_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from fusekit.storage.folder import Storage

_SHOWN = 5  # faults of one file that are told one by one


@dataclass(frozen=True)
class Problem:
    """One fault of a store.

    Attributes:
        where: The file in the store, and the sample where one is meant.
        found: What was found there, and what should have been.
    """

    where: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}"

    def as_json(self) -> dict[str, str]:
        """Give it as an object."""
        return asdict(self)


def of_error(error: FusekitError) -> Problem:
    """Make a fault of what stopped a check."""
    return Problem(error.where, str(error).removeprefix(f"{error.where}: "))


def caught(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Go through the faults a check finds; an error that stops the check is its last fault."""
    try:
        yield from problems
    except FusekitError as error:
        yield of_error(error)


def shortened(problems: Iterable[Problem], where: str) -> Iterator[Problem]:
    """Pass the first few faults on and count the others: a file may have one in each row."""
    more = 0
    for number, problem in enumerate(problems):
        if number < _SHOWN:
            yield problem
        else:
            more += 1
    if more:
        yield Problem(where, f"and {more:,} faults more")


def compare(where: str, what: str, found: object, expected: object) -> Iterator[Problem]:
    """Give a fault when a value is not what a record says."""
    if found != expected:
        yield Problem(where, f"{what} {found}; expected {expected}")


def check_sums(storage: Storage, sums: Mapping[str, str]) -> Iterator[Problem]:
    """Give a fault for each file that is missing or whose sha256 is another."""
    for name, expected in sums.items():
        if not storage.exists(name):
            yield Problem(name, "is missing")
        elif (found := file_sha256(storage.path(name))) != expected:
            yield Problem(name, f"has sha256 {found[:16]}…; expected {expected[:16]}…")
