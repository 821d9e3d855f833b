"""Digests and canonical JSON: what makes two runs comparable."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_BLOCK = 1 << 20


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Write a JSON value in its one canonical form: sorted keys, no spaces, UTF-8.

    Args:
        value: Dicts with text keys, lists, text, integers, finite floats, booleans, None.

    Returns:
        The same bytes for equal values, whatever the order of their keys.

    Raises:
        ValueError: A float is not finite.

    Example:
        >>> canonical_json({"b": 1, "a": [None, "é"]}).decode()
        '{"a":[null,"é"],"b":1}'
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def fingerprint(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Give the sha256 of a value's canonical JSON, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def first_difference(old: Any, new: Any, path: str = "") -> str | None:  # noqa: ANN401
    """Name the first place, in key order, where two JSON values differ.

    Args:
        old: What was.
        new: What is.
        path: Where in a larger value these two stand; empty at the top.

    Returns:
        ``"settings.format: 'jpg', was 'png'"`` (new, then old), or None when they are equal.

    Example:
        >>> first_difference({"a": {"b": 1}}, {"a": {"b": 2}})
        'a.b: 2, was 1'
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{path}.{key}" if path else str(key)
            if key not in old:
                return f"{inner}: {new[key]!r}, was not set"
            if key not in new:
                return f"{inner}: not set, was {old[key]!r}"
            found = first_difference(old[key], new[key], inner)
            if found:
                return found
        return None
    return None if old == new else f"{path}: {new!r}, was {old!r}"


def digest16(data: bytes | memoryview) -> bytes:
    """Give the first 16 bytes of sha256, the form of digests in manifests."""
    return hashlib.sha256(data).digest()[:16]


def file_sha256(path: Path) -> str:
    """Give a file's sha256 as 64 hex digits, reading it in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
