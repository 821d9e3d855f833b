"""What a search for evaluation people in training datasets found, and how it searched."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """One training identity that is, or may be, in an evaluation set.

    Attributes:
        dataset: The training dataset.
        identity: Its identity.
        evaluation: The evaluation set.
        reason: ``name``, ``embedding``, ``published``, or several joined by ``+``.
        name: By which the training dataset knows the person; None: by none.
        person: The likeliest person there; None: the set has no identities, or a list alone
            speaks for it.
        score: Cosine of the nearest two templates; None: nobody there is alike.
    """

    dataset: str
    identity: str
    evaluation: str
    reason: str
    name: str | None
    person: str | None
    score: float | None

    def as_json(self) -> dict[str, str]:
        """Give it as one of the objects that ``fusekit decontaminate --json`` lists."""
        return {
            "dataset": self.dataset, "identity": self.identity, "evaluation": self.evaluation,
            "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class Searched:
    """How one training dataset was compared with one evaluation set.

    Attributes:
        dataset: The training dataset.
        evaluation: The evaluation set.
        pairs: Pairs of people compared, by their templates.
        by_chance: How many of those are strangers who score as one person, as expected from the
            false-match rate; names and image votes leave fewer.
        same: The cosine that calls two templates one person.
        unsure: The cosine from which faces alone leave a pair to a person.
        people: Identities found; each once.
        unsure_people: Identities that a person has to look at.
    """

    dataset: str
    evaluation: str
    pairs: int
    by_chance: float
    same: float
    unsure: float
    people: int
    unsure_people: int


@dataclass(frozen=True)
class ContaminationResult:
    """Which training identities are in evaluation sets; nothing is removed.

    Attributes:
        identities: Those that are; each once for each evaluation set.
        unsure: Those on which a person has to decide; the same.
        finding: Fingerprint of the finding.
        searched: What was compared, by training dataset and evaluation set.
        warnings: What a reader must know before trusting the result.
        seconds: Of this run.
    """

    identities: tuple[Found, ...]
    unsure: tuple[Found, ...]
    finding: str
    searched: tuple[Searched, ...]
    warnings: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give it as the object that ``fusekit decontaminate --json`` prints."""
        return {
            "identities": [found.as_json() for found in self.identities],
            "unsure": [found.as_json() for found in self.unsure],
            "finding": self.finding,
            "searched": [asdict(each) for each in self.searched],
            "warnings": list(self.warnings),
        }
