"""What a mixture holds, source by source, and what the recipe's rules took from each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

FORMAT_VERSION: Final = 1  # of mixture.json and the files beside it
RULES: Final = ("erased", "where", "max_activation", "max_images", "min_images")
State: TypeAlias = Literal["built", "unchanged", "dry run"]


@dataclass(frozen=True)
class SourceSummary:
    """One dataset of a mixture.

    Attributes:
        dataset: Its name.
        dataset_index: Its source index: what batches and ``class_ranges`` call it.
        store_index: Its dataset index in the store, as in manifests.
        kind: labeled or unlabeled.
        labels: Its first label and one past its last; None: unlabeled.
        rows: Samples in the mixture.
        first_row: Its first row in the index; its rows follow each other.
        samples: Samples in the dataset; ``rows`` and what the rules dropped add up to them.
        dropped: Rule to the samples it took, in the order in which the rules act.
        finding: Fingerprint of the activation finding that was used; None: none.
        fingerprint: The dataset's.
        template: What its stored crops are aligned to; None: the mixture's template, as in one
            that was built before mixtures could have several.
    """

    dataset: str
    dataset_index: int
    store_index: int
    kind: Literal["labeled", "unlabeled"]
    labels: tuple[int, int] | None
    rows: int
    first_row: int
    samples: int
    dropped: dict[str, int]
    finding: str | None
    fingerprint: str
    template: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Give it as ``mixture.json`` holds it."""
        return vars(self) | {"labels": None if self.labels is None else list(self.labels)}

    def note(self) -> str:
        """Say in one line what the rules did.

        Example:
            >>> SourceSummary("crawl", 1, 1000, "unlabeled", None, 7, 3, 9,
            ...     {"where": 2}, None, "ab").note()
            'crawl: 7 of 9 samples (where took 2); not filtered'
        """
        took = ", ".join(f"{rule} took {count}" for rule, count in self.dropped.items())
        text = f"{self.dataset}: {self.rows} of {self.samples} samples"
        text += f" ({took})" if took else ""
        unfiltered = self.kind == "unlabeled" and self.finding is None
        return f"{text}; not filtered" if unfiltered else text


@dataclass(frozen=True)
class MixtureSummary:
    """What was built, or would be.

    Attributes:
        mixture: Its name.
        labeled: Labeled rows.
        unlabeled: Unlabeled rows.
        classes: Labels.
        fingerprint: The mixture's.
        sources: Its datasets, labeled first, in the recipe's order.
        state: ``built``, ``unchanged`` when it was there already, or ``dry run``.
    """

    mixture: str
    labeled: int
    unlabeled: int
    classes: int
    fingerprint: str
    sources: tuple[SourceSummary, ...]
    state: State

    @classmethod
    def of(cls, about: dict[str, Any], state: State) -> MixtureSummary:
        """Summarise what ``mixture.json`` says."""
        sources = tuple(_source(each) for each in about["datasets"])
        return cls(
            mixture=about["name"], labeled=about["labeled"], unlabeled=about["unlabeled"],
            classes=about["classes"], fingerprint=about["fingerprint"], sources=sources,
            state=state,
        )  # fmt: skip

    @property
    def notes(self) -> list[str]:
        """One line for each dataset: what the rules took, and what was not filtered."""
        return [source.note() for source in self.sources]

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit build-mixture --json`` prints.

        ``datasets`` are the labeled ones with their ranges of labels; ``dataset_index`` is the
        source index, which batches give, and ``store_index`` the dataset's index in the store.
        """
        return {
            "mixture": self.mixture, "labeled": self.labeled, "unlabeled": self.unlabeled,
            "classes": self.classes,
            "datasets": [_public(s) for s in self.sources if s.kind == "labeled"],
            "unlabeled_datasets": [_public(s) for s in self.sources if s.kind == "unlabeled"],
            "fingerprint": self.fingerprint, "state": self.state,
        }  # fmt: skip


def _source(about: dict[str, Any]) -> SourceSummary:
    labels = None if about["labels"] is None else tuple(about["labels"])
    # JSON objects have no order of their own; the rules have.
    dropped = {rule: about["dropped"][rule] for rule in RULES if rule in about["dropped"]}
    return SourceSummary(**about | {"labels": labels, "dropped": dropped})


def _public(source: SourceSummary) -> dict[str, Any]:
    about = {
        "dataset": source.dataset, "dataset_index": source.dataset_index,
        "labels": source.labels and list(source.labels), "store_index": source.store_index,
        "rows": source.rows, "samples": source.samples, "dropped": source.dropped,
    }  # fmt: skip
    if source.kind == "unlabeled":
        del about["labels"]
        about["finding"] = source.finding
    return about
