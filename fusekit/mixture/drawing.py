"""How a recipe's batches are drawn: shares of the datasets, identities, the end of an epoch.

These are the values that a recipe and a loader's arguments have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
)

from fusekit.cards.checking import nearest

Grouping: TypeAlias = Literal["mixed", "sub_batches", "one_dataset"]

_MAX_DENOMINATOR: Final = 1_000_000
_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18}|/[0-9]{1,9})?")
_BY: Final = "'images', 'identities', {weights: {dataset: number}} or {temperature: number}"
_EPOCHS: Final = "'cycle', 'stop_first' or {steps: number}"
_MOST_STEPS: Final = 2**53


def exact(value: object, what: str, example: str) -> Fraction:
    """Take a number exactly as it is written: 0.1 means one tenth.

    Args:
        value: An integer, a decimal number or text such as ``1/4``.
        what: What the number is, for the message.
        example: How it may be written, for the message.

    Raises:
        ValueError: It is no such number, or has more digits than a fraction of a denominator up
            to a million holds.

    Example:
        >>> exact(0.1, "share", "0.25 or 1/4")
        Fraction(1, 10)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction, Decimal)):
        msg = f"{value!r} is no number; expected a {what} such as {example}"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns only ValueError into its findings
    # Through text: the binary number nearest to 0.1 is not meant.
    text = str(value).strip()
    try:
        # The form is checked first: the power in "1e999999999" would be worked out.
        fraction = Fraction(text if isinstance(value, float) or _NUMBER.fullmatch(text) else "")
    except (ValueError, ZeroDivisionError):
        msg = f"{value!r} is no {what}; expected {example}"
        raise ValueError(msg) from None
    if fraction.denominator > _MAX_DENOMINATOR:
        msg = f"{value} has too many digits; write it as p/q with q <= {_MAX_DENOMINATOR}"
        raise ValueError(msg)
    return fraction


@dataclass(frozen=True)
class Weights:
    """Labeled datasets share the labeled rows in these proportions.

    Attributes:
        of: Each labeled dataset's weight, positive; they need not sum to one.
    """

    of: Mapping[str, Fraction]


@dataclass(frozen=True)
class Temperature:
    """A dataset of N images has the share ``N ** (1 / t)``, over the sum of all.

    1 is by images; the higher, the more even; infinity would be all alike.

    Attributes:
        t: The temperature, positive.

    Reference:
        Arivazhagan et al., "Massively multilingual neural machine translation in the wild",
        2019: temperature sampling over languages.
    """

    t: Fraction


@dataclass(frozen=True)
class Steps:
    """An epoch of a fixed number of steps.

    Attributes:
        steps: How many, at least 1.
    """

    steps: int


ByValue: TypeAlias = Literal["images", "identities"] | Weights | Temperature
EpochsValue: TypeAlias = Literal["cycle", "stop_first"] | Steps


def parse_by(value: object) -> ByValue:
    """Take what ``by`` may be: how the labeled datasets share the labeled rows.

    Args:
        value: ``images``, ``identities``, ``{"weights": {dataset: number}}``,
            ``{"temperature": number}``, or what this function gave.

    Raises:
        ValueError: It is none of these, or a number is not positive.

    Example:
        >>> parse_by({"temperature": 2})
        Temperature(t=Fraction(2, 1))
    """
    match value:
        case "images" | "identities" | Weights() | Temperature():
            return value
        case {"weights": Mapping() as weights, **rest} if weights and not rest:
            return Weights({str(k): _positive(w, f"weight of {k}") for k, w in weights.items()})
        case {"temperature": t, **rest} if not rest:
            return Temperature(_positive(t, "temperature"))
    raise _unknown(value, _BY, ("images", "identities"), ("weights", "temperature"))


def parse_epochs(value: object) -> EpochsValue:
    """Take what ``epochs`` may be: where an epoch ends.

    Args:
        value: ``cycle``, ``stop_first``, ``{"steps": number}``, or what this function gave.

    Raises:
        ValueError: It is none of these.

    Example:
        >>> parse_epochs({"steps": 1000})
        Steps(steps=1000)
    """
    match value:
        case "cycle" | "stop_first" | Steps():
            return value
        case {"steps": steps, **rest} if not rest:
            if type(steps) is not int or not 1 <= steps <= _MOST_STEPS:
                msg = f"steps is {steps!r}; expected an integer from 1 on"
                raise ValueError(msg)
            return Steps(steps)
        case int() if type(value) is int:
            msg = (
                f"{value} is no end of an epoch; expected {_EPOCHS}; it says where an epoch ends, "
                f"not how many there are: {{steps: {value}}} is an epoch of {value} steps"
            )
            raise ValueError(msg)
    raise _unknown(value, _EPOCHS, ("cycle", "stop_first"), ("steps",))


def _positive(value: object, what: str) -> Fraction:
    number = exact(value, what, "2, 0.5 or 1/3")
    if number <= 0:
        msg = f"{value} is no {what}; expected a number over 0"
        raise ValueError(msg)
    return number


def _unknown(
    value: object, expected: str, words: tuple[str, ...], keys: tuple[str, ...]
) -> ValueError:
    known, spelt = words, value
    what = f"{value!r}"
    if isinstance(value, Mapping):
        spelt = next((key for key in value if key not in keys), None)
        known, what = keys, f"unknown key {spelt!r}" if spelt is not None else f"{dict(value)!r}"
    near = nearest(spelt, known) if isinstance(spelt, str) else None
    return ValueError(f"{what}; " + (f"did you mean {near!r}?" if near else f"expected {expected}"))


def _by_json(value: ByValue | None) -> Any:  # noqa: ANN401 - JSON
    match value:
        case Weights(of):
            return {"weights": {name: str(weight) for name, weight in of.items()}}
        case Temperature(t):
            return {"temperature": str(t)}
    return value


def _epochs_json(value: EpochsValue) -> Any:  # noqa: ANN401 - JSON
    return {"steps": value.steps} if isinstance(value, Steps) else value


By: TypeAlias = Annotated[
    ByValue | None,
    PlainValidator(lambda value: None if value is None else parse_by(value)),
    PlainSerializer(_by_json),
]
Epochs: TypeAlias = Annotated[
    EpochsValue, PlainValidator(parse_epochs), PlainSerializer(_epochs_json)
]
_Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")]


class SamplerSettings(BaseModel):
    """Batches of whole identities: P identities with K images each, on every device.

    Attributes:
        identities: P: different identities in a device batch.
        images: K: images of each; different images wherever an identity has that many.
        datasets: Labeled datasets to draw from; None: all.
        min_images: Identities with fewer images are left out; None: none is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    identities: Annotated[int, Field(ge=1, le=1 << 20)]
    images: Annotated[int, Field(ge=1, le=1 << 20)]
    datasets: Annotated[tuple[_Name, ...], Field(min_length=1, max_length=1000)] | None = None
    min_images: Annotated[int, Field(ge=1, lt=2**31)] | None = None


def check_named(given: Iterable[str], known: Iterable[str]) -> None:
    """Check that datasets are labeled ones of the recipe, each named once.

    Raises:
        ValueError: One is not, or is there twice.
    """
    given, known = list(given), list(known)
    for name in given:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near!r}?" if near else "the labeled ones: " + ", ".join(known)
            msg = f"no labeled dataset is named {name!r}; {hint}"
            raise ValueError(msg)
        if given.count(name) > 1:
            msg = f"the dataset {name!r} is there twice"
            raise ValueError(msg)


def check_weights(weights: Weights, known: Iterable[str]) -> None:
    """Check that every labeled dataset has its weight.

    Raises:
        ValueError: One has none, or a weight is of no labeled dataset.
    """
    check_named(weights.of, known)
    for name in known:
        if name not in weights.of:
            msg = f"the labeled dataset {name!r} has no weight; expected one of every labeled one"
            raise ValueError(msg)


def check_identities(sampler: SamplerSettings, batch_size: int, unlabeled: Fraction) -> None:
    """Check that P x K fills the labeled part of a device batch.

    Args:
        sampler: P and K.
        batch_size: Samples of a device batch.
        unlabeled: Share of unlabeled samples.

    Raises:
        ValueError: It does not, or that part is no whole number of rows.
    """
    rows, asked = batch_size * (1 - unlabeled), sampler.identities * sampler.images
    of = f"of a batch of {batch_size}" + (f" with {unlabeled} unlabeled" if unlabeled else "")
    if rows.denominator > 1:
        msg = (
            f"the labeled part {of} is {rows} rows, no whole number; "
            f"make the batch a multiple of {unlabeled.denominator}"
        )
        raise ValueError(msg)
    if asked != rows:
        msg = (
            f"{sampler.identities} identities x {sampler.images} images are {asked} rows; "
            f"expected {rows}, the labeled part {of}"
        )
        raise ValueError(msg)


GROUPINGS: Final[tuple[Grouping, ...]] = get_args(Grouping)
