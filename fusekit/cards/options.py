"""Options of a reader as a command line spells them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fusekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import JsonValue


def parse_options(texts: Iterable[str]) -> dict[str, JsonValue]:
    """Read options of the form ``NAME=VALUE``.

    Args:
        texts: The value is JSON where it can be, else plain text.

    Returns:
        Option to value; a reader checks what they may be.

    Raises:
        UsageError: There is no ``=`` in one, or a name comes twice.

    Example:
        >>> parse_options(["every_ms=500", "sample=shots"])
        {'every_ms': 500, 'sample': 'shots'}
    """
    options: dict[str, JsonValue] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name):
            raise UsageError("--option", repr(text), "NAME=VALUE, such as every_ms=500")
        if name in options:
            raise UsageError("--option", f"{name!r} is there twice", "each option once")
        try:
            options[name] = json.loads(value)
        except (ValueError, RecursionError):
            options[name] = value
    return options
