"""What a mixture holds, source by source, and what the recipe's rules took from each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

FORMAT_VERSION: Final = 2  # of mixture.json and the files beside it; 1 is read too
RULES: Final = (
    "erased", "where", "exclude", "clean", "max_activation", "drop", "dedup", "max_images",
    "min_images",
)  # fmt: skip
State: TypeAlias = Literal["built", "unchanged", "dry run"]


@dataclass(frozen=True)
class Step:
    """What one rule did to one dataset.

    Attributes:
        rule: One of :data:`RULES`.
        rows_in: Samples that were left when its turn came.
        taken: Samples that it took.
        rows_out: Samples that it left.
        identities: Classes that it left an image of; None: unlabeled.
    """

    rule: str
    rows_in: int
    taken: int
    rows_out: int
    identities: int | None


@dataclass(frozen=True)
class Overlap:
    """How many people are in several classes, by an overlap finding.

    Attributes:
        people: People with more than one class.
        classes: The classes that are theirs.
        finding: Fingerprint of the finding.
    """

    people: int
    classes: int
    finding: str


@dataclass(frozen=True)
class SourceSummary:
    """One dataset of a mixture.

    Attributes:
        dataset: Its name.
        dataset_index: Its source index: what batches and ``class_ranges`` call it.
        store_index: Its dataset index in the store, as in manifests.
        kind: labeled or unlabeled.
        labels: Its first label and one past its last; None: unlabeled, or merged with other
            datasets so that its labels are no range.
        classes: How many labels it has; 0: unlabeled.
        rows: Samples in the mixture.
        first_row: Its first row in the index; its rows follow each other.
        samples: Samples in the dataset; ``rows`` and what the rules dropped add up to them.
        steps: What each rule did, in the order in which the rules act.
        finding: Fingerprint of the activation or label-noise finding that was used; None: none.
        fingerprint: The dataset's.
        template: What its stored crops are aligned to; None: the mixture's template, as in one
            that was built before mixtures could have several.
    """

    dataset: str
    dataset_index: int
    store_index: int
    kind: Literal["labeled", "unlabeled"]
    labels: tuple[int, int] | None
    classes: int
    rows: int
    first_row: int
    samples: int
    steps: tuple[Step, ...]
    finding: str | None
    fingerprint: str
    template: str | None = None

    @property
    def dropped(self) -> dict[str, int]:
        """Rule to the samples it took, in the order in which the rules act."""
        return {step.rule: step.taken for step in self.steps}

    @property
    def is_filtered(self) -> bool:
        """Whether known people were taken out, or need not be: it is labeled."""
        return self.kind == "labeled" or "max_activation" in self.dropped

    def as_json(self) -> dict[str, Any]:
        """Give it as ``mixture.json`` holds it."""
        return vars(self) | {
            "labels": None if self.labels is None else list(self.labels),
            "steps": [vars(step) for step in self.steps], "dropped": self.dropped,
        }  # fmt: skip

    def note(self) -> str:
        """Say in one line what the rules did.

        Example:
            >>> SourceSummary("crawl", 1, 1000, "unlabeled", None, 0, 7, 3, 9,
            ...     (Step("where", 9, 2, 7, None),), None, "ab").note()
            'crawl: 7 of 9 samples (where took 2); not filtered'
        """
        took = ", ".join(f"{rule} took {count}" for rule, count in self.dropped.items())
        text = f"{self.dataset}: {self.rows} of {self.samples} samples"
        text += f" ({took})" if took else ""
        return text if self.is_filtered else f"{text}; not filtered"


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
        removed: Identities that are left out whole, each with ``dataset``, ``identity`` and
            ``reason``.
        checked_against: Evaluation sets whose people were looked for; empty: not checked.
        overlap: People who are in several classes or, merged, would be; None: there is not exactly
            one fresh overlap finding.
        merged: Labels are merged.
    """

    mixture: str
    labeled: int
    unlabeled: int
    classes: int
    fingerprint: str
    sources: tuple[SourceSummary, ...]
    state: State
    removed: tuple[dict[str, str], ...] = ()
    checked_against: tuple[str, ...] = ()
    overlap: Overlap | None = None
    merged: bool = False

    @classmethod
    def of(
        cls, about: dict[str, Any], state: State, overlap: Overlap | None = None
    ) -> MixtureSummary:
        """Summarise what ``mixture.json`` says."""
        sources = tuple(_source(each) for each in about["datasets"])
        return cls(
            mixture=about["name"], labeled=about["labeled"], unlabeled=about["unlabeled"],
            classes=about["classes"], fingerprint=about["fingerprint"], sources=sources,
            state=state, removed=tuple(about.get("removed", ())),
            checked_against=tuple(about.get("checked_against", ())), overlap=overlap,
            merged=about["recipe"]["labels"] == "merge",
        )  # fmt: skip

    @property
    def notes(self) -> list[str]:
        """What a person should know: each dataset's rules, who was left out, who is there twice."""
        return [source.note() for source in self.sources] + self.remarks

    @property
    def remarks(self) -> list[str]:
        """Of :attr:`notes` those about the mixture as a whole."""
        remarks = []
        if self.removed:
            who = "identity" if len(self.removed) == 1 else "identities"
            remarks.append(f"{len(self.removed)} {who} left out, named in mixture.json")
        if self.overlap is not None and self.overlap.people:
            remarks.append(self._note_of(self.overlap))
        return remarks

    def _note_of(self, overlap: Overlap) -> str:
        people, classes = overlap.people, overlap.classes
        if self.merged:
            return f"{people} people had several classes ({classes}); merged, each has one"
        return (
            f"{people} people are in several classes ({classes}): the dataset-aware loss keeps "
            "them from pushing each other apart; 'labels: merge' makes each one class"
        )

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit build-mixture --json`` prints.

        ``datasets`` are the labeled ones with their ranges of labels; ``dataset_index`` is the
        source index, which batches give, and ``store_index`` the dataset's index in the store.
        """
        overlap = None if self.overlap is None else vars(self.overlap)
        return {
            "mixture": self.mixture, "labeled": self.labeled, "unlabeled": self.unlabeled,
            "classes": self.classes,
            "datasets": [_public(s) for s in self.sources if s.kind == "labeled"],
            "unlabeled_datasets": [_public(s) for s in self.sources if s.kind == "unlabeled"],
            "removed": list(self.removed), "checked_against": list(self.checked_against),
            "overlap": overlap, "fingerprint": self.fingerprint, "state": self.state,
        }  # fmt: skip


def _source(about: dict[str, Any]) -> SourceSummary:
    labels = None if about["labels"] is None else (about["labels"][0], about["labels"][1])
    values = {key: value for key, value in about.items() if key != "dropped"}
    values |= {"labels": labels, "steps": _steps(about)}
    # A mixture of format 1 has neither; every label of a dataset was in its range.
    values.setdefault("classes", 0 if labels is None else labels[1] - labels[0])
    return SourceSummary(**values)


def _steps(about: dict[str, Any]) -> tuple[Step, ...]:
    if "steps" in about:
        return tuple(Step(**step) for step in about["steps"])
    steps, rows = [], about["samples"]
    # JSON objects have no order of their own; the rules have.
    for rule in RULES:
        if rule in about["dropped"]:
            taken = about["dropped"][rule]
            steps.append(Step(rule, rows, taken, rows - taken, None))
            rows -= taken
    return tuple(steps)


def _public(source: SourceSummary) -> dict[str, Any]:
    about = {
        "dataset": source.dataset, "dataset_index": source.dataset_index,
        "labels": source.labels and list(source.labels), "classes": source.classes,
        "store_index": source.store_index, "rows": source.rows, "samples": source.samples,
        "dropped": source.dropped, "steps": [vars(step) for step in source.steps],
    }  # fmt: skip
    if source.kind == "unlabeled":
        del about["labels"], about["classes"]
    if source.kind == "unlabeled" or source.finding is not None:
        about["finding"] = source.finding
    return about
