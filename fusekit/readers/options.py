"""Options of readers: checked by the reader that they are for, with their defaults filled in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from fusekit.cards.checking import checked
from fusekit.errors import CardError

if TYPE_CHECKING:
    from fusekit.cards.card import Form


class Options(BaseModel):
    """What every reader's options have in common: nothing unknown, nothing that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Chosen = TypeVar("Chosen", bound=Options)


def read_options(model: type[Chosen], form: Form) -> tuple[Chosen, Form]:
    """Check a form's options.

    Args:
        model: The reader's options.
        form: As the card has it.

    Returns:
        The options, and the form with all of them in it, defaults too.

    Raises:
        CardError: An option is unknown or can't be.
    """
    where = f"options of the form {form.name!r}"
    options = checked(model, dict(form.options), where, CardError)
    return options, replace(form, options=options.model_dump(mode="json"))


def _stays_inside(path: str) -> str:
    if path.startswith("/") or "\\" in path or ".." in path.split("/"):
        msg = f"{path!r} may lead out of the raw folder"
        raise ValueError(msg)
    return path


InsidePath: TypeAlias = Annotated[
    str, StringConstraints(min_length=1, max_length=255), AfterValidator(_stays_inside)
]
