"""What a recipe may say of findings: whom to leave out, what to clean, which copies to drop."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]
Prefix: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{4,64}$")]
Count: TypeAlias = Annotated[int, Field(ge=1, lt=2**31)]
Unsure: TypeAlias = Literal["keep", "drop"]
Flag: TypeAlias = Literal["low-quality", "duplicate"]


class Strict(BaseModel):
    """A part of a recipe: no unknown key, no change after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


Person: TypeAlias = Annotated[str, StringConstraints(min_length=1), AfterValidator(_nfc)]


class Exclude(Strict):
    """Labeled identities that a mixture does without.

    Attributes:
        evaluation: Evaluation sets whose people must not be trained on, by the contamination
            finding.
        finding: First digits of its fingerprint, where there are several.
        unsure: What becomes of identities that are perhaps in one of these sets. Dropped unless
            said otherwise: a person too few costs one class, one too many makes the result untrue.
        identities: Dataset to identities that are left out because the recipe says so.
    """

    evaluation: tuple[Name, ...] = ()
    finding: Prefix | None = None
    unsure: Unsure = "drop"
    identities: dict[Name, tuple[Person, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_is_said(self) -> Exclude:
        if not self.evaluation and not self.identities:
            msg = "names nobody; expected evaluation: [DATASET] or identities: {DATASET: [NAME]}"
            raise ValueError(msg)
        if self.finding is not None and not self.evaluation:
            msg = "finding without evaluation excludes nobody; add evaluation: [DATASET]"
            raise ValueError(msg)
        again = next((name for name in self.evaluation if self.evaluation.count(name) > 1), None)
        if again:
            msg = f"the evaluation set {again!r} is there twice"
            raise ValueError(msg)
        return self


class Clean(Strict):
    """How a labeled dataset is cleaned by its label-noise finding.

    Attributes:
        finding: First digits of the finding's fingerprint, where there are several.
        unsure: What becomes of samples that the finding is unsure of.
        split: What becomes of a class that holds two people: ``largest``: the samples of the main
            one stay; ``split``: each further person becomes a class; ``drop``: the class goes;
            ``keep``: nothing is done.
    """

    finding: Prefix | None = None
    unsure: Unsure = "keep"
    split: Literal["largest", "drop", "keep", "split"] = "largest"


class Dedup(Strict):
    """How copies of one picture are dropped by the duplicates finding.

    Attributes:
        finding: First digits of the finding's fingerprint, where there are several.
        across: Copies in several datasets are copies too; else each dataset is looked at alone.
        conflicts: What becomes of pictures whose copies show different identities: ``drop`` takes
            every copy, since one label of them is wrong; ``keep`` treats them as other copies.
    """

    finding: Prefix | None = None
    across: bool = True
    conflicts: Literal["drop", "keep"] = "drop"


def _said(value: Any) -> Any:  # noqa: ANN401 - any YAML value
    """Read ``true`` as the settings' defaults and ``false`` as nothing."""
    return value if not isinstance(value, bool) else {} if value else None


AsClean: TypeAlias = Annotated[Clean | None, BeforeValidator(_said)]
AsDedup: TypeAlias = Annotated[Dedup | None, BeforeValidator(_said)]
