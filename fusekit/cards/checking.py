"""Turn pydantic's findings into one line that names the place and the nearest known word."""

from __future__ import annotations

import difflib
import json
import types
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fusekit.errors import FusekitError

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], data: object, where: object, error: type[FusekitError]) -> Model:
    """Check plain values against a model, strictly: text is no number, 1 is no boolean.

    Args:
        model: A pydantic model that forbids extra keys.
        data: Plain values, as :func:`fusekit.cards.safe_yaml.read_yaml` gives them.
        where: The file, for the message.
        error: The class of what is raised.

    Raises:
        FusekitError: Of the class given, about the first thing that is wrong.
    """
    if not isinstance(data, dict):
        raise error(where, f"holds {_kind(data)}", f"keys and values ({_some(model)})")
    try:
        # Through JSON, so that strictness knows lists from text but still makes tuples of lists.
        return model.model_validate_json(json.dumps(data, allow_nan=False), strict=True)
    except ValidationError as reason:
        # A misspelt key is often a missing one too; its own name says more.
        found = reason.errors(include_url=False)
        first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    except (TypeError, ValueError) as reason:
        raise error(where, str(reason), "plain values") from None
    location = [part for part in first["loc"] if not str(part).startswith("function-")]
    place = _spell(location)
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        at = f"{where}: {_spell(location[:-1])}" if location[1:] else where
        raise error(at, f"unknown key {location[-1]!r}", None, _suggest(str(location[-1]), known))
    if first["type"] == "missing":
        at = f"{where}: {_spell(location[:-1])}" if location[1:] else where
        raise error(at, f"the key {location[-1]!r} is missing")
    at = f"{where}: {place}" if place else where
    message = str(first["msg"])
    if first["type"] == "value_error":
        raise error(at, message.removeprefix("Value error, "))
    if message.startswith("Input should be "):
        raise error(at, _brief(first["input"]), message.removeprefix("Input should be "))
    raise error(at, f"{_brief(first['input'])}: {message[:1].lower()}{message[1:]}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that is spelt most like ``word``; None when none is near.

    Example:
        >>> nearest("vgface2", ["vggface2", "umdfaces"])
        'vggface2'
    """
    close = difflib.get_close_matches(word, list(known), 1, 0.6)
    return close[0] if close else None


def _suggest(word: str, known: list[str]) -> str:
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"


def _keys_at(model: type[BaseModel], location: list[Any]) -> list[str]:
    current: Any = model
    for part in location:
        current = _inner(current, part)
    return sorted(_fields(current)) if _is_model(current) else []


def _inner(annotation: Any, part: object) -> Any:  # noqa: ANN401 - a type expression
    if _is_model(annotation):
        fields = {f.alias or name: f.annotation for name, f in annotation.model_fields.items()}
        return _unwrapped(fields.get(str(part)))
    return _unwrapped(get_args(annotation)[-1 if get_origin(annotation) is dict else 0])


def _unwrapped(annotation: Any) -> Any:  # noqa: ANN401 - a type expression
    if get_origin(annotation) in (Union, types.UnionType):
        return next(arg for arg in get_args(annotation) if arg is not type(None))
    return annotation


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fields(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _some(model: type[BaseModel]) -> str:
    return ", ".join(_fields(model)[:4]) + ", …"


def _spell(location: list[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _kind(data: object) -> str:
    return "nothing" if data is None else "a list" if isinstance(data, list) else "one value"


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
