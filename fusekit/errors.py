"""Every error that fusekit raises on purpose, in one tree.

FusekitError
├── UsageError          an argument or option that cannot be (exit code 2)
├── MissingExtraError   an optional dependency that is not installed
├── CardError           a dataset's card
├── RecipeError         a mixture's recipe
├── SourceError         raw data that is not what the card says
│   └── ItemError       one raw item; becomes a reject with its reason, never stops a run
├── FormatError         a container file: tar, RecordIO
├── StorageError        reading or writing the store's files
├── StoreError          what the store holds
│   └── FingerprintError  other inputs or settings than those a run was started with
├── AlignmentError      landmarks that no transform fits
├── ModelError          a model that is missing, damaged or of another kind
├── FindingError        a finding that is missing, ambiguous or stale
├── SqlError            a query that is refused or fails
├── MixtureError        a mixture that cannot be built or opened
├── LoaderError         batches that cannot be made
│   └── StateError      a saved state from another selection or order
├── LossError           a batch or a setting that a loss or a head cannot use
└── WorkError           work that failed in a worker

A message is one line: where, what was found, what was expected, the next step. It starts in
lower case after the place and ends without a full stop, so that it follows ``fusekit: ``.
"""

from __future__ import annotations

__all__ = [
    "AlignmentError",
    "CardError",
    "FindingError",
    "FingerprintError",
    "FormatError",
    "FusekitError",
    "ItemError",
    "LoaderError",
    "LossError",
    "MissingExtraError",
    "MixtureError",
    "ModelError",
    "RecipeError",
    "SourceError",
    "SqlError",
    "StateError",
    "StorageError",
    "StoreError",
    "UsageError",
    "WorkError",
]


class FusekitError(Exception):
    """The root of the tree; catch it to catch everything fusekit raises on purpose.

    Args:
        where: The file, option, dataset or key that the error is about.
        found: What was found there.
        expected: What should have been there; None when ``found`` says it.
        fix: The next step for the reader; None when there is only the obvious one.

    Example:
        >>> str(FusekitError("a.yaml", "kind is 'labelled'", "labeled or unlabeled"))
        "a.yaml: kind is 'labelled'; expected labeled or unlabeled"
    """

    exit_code = 1

    def __init__(
        self, where: object, found: str, expected: str | None = None, fix: str | None = None
    ) -> None:
        # Exceptions cross process borders by their args, so these are all four.
        super().__init__(str(where), found, expected, fix)
        self.where = str(where)
        self.found = found
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.found}" if self.where else self.found]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.fix:
            parts.append(self.fix)
        return "; ".join(parts)


class UsageError(FusekitError):
    """An argument or option that cannot be."""

    exit_code = 2


class MissingExtraError(FusekitError):
    """An optional dependency that is not installed.

    Args:
        feature: What needs it.
        extra: The extra of fusekit that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            feature, f"needs the extra '{extra}'", None, f"pip install 'fusekit[{extra}]'"
        )
        self.args = (feature, extra)


class CardError(FusekitError):
    """A dataset's card is not readable, or says something that cannot be."""


class RecipeError(FusekitError):
    """A mixture's recipe is not readable, or asks for something that cannot be."""


class SourceError(FusekitError):
    """Raw data is not what the card says."""


class ItemError(SourceError):
    """One raw item can't be used; it becomes a reject and the run goes on.

    Args:
        reason: The reject's reason, one of :data:`fusekit.schema.REJECT_REASONS`.
        source: The item.
        found: What was found.
    """

    def __init__(self, reason: str, source: str, found: str) -> None:
        super().__init__(source, found)
        self.args = (reason, source, found)
        self.reason = reason


class FormatError(FusekitError):
    """A container file (tar, RecordIO) breaks its format."""


class StorageError(FusekitError):
    """A file of the store can't be read or written."""


class StoreError(FusekitError):
    """The store does not hold what was asked for, or holds it in another form."""


class FingerprintError(StoreError):
    """A run was started with other inputs or settings; nothing is mixed."""


class AlignmentError(FusekitError):
    """Landmarks that no similarity transform carries onto a template."""


class ModelError(FusekitError):
    """A model is not here, is damaged, or does not fit its task."""


class FindingError(FusekitError):
    """A finding is missing, ambiguous or stale."""


class SqlError(FusekitError):
    """A query is refused or fails."""


class MixtureError(FusekitError):
    """A mixture can't be built or opened."""


class LoaderError(FusekitError):
    """Batches can't be made."""


class StateError(LoaderError):
    """A saved state belongs to another selection or order."""


class LossError(FusekitError):
    """A batch or a setting that a loss or a head can't use."""


class WorkError(FusekitError):
    """Work failed in a worker."""
