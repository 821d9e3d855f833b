"""The input contract of an embedder: which crop it wants, and how its numbers are made."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from fusekit.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

Template: TypeAlias = Literal["arcface-112", "dlib-chip-150"]
Colour: TypeAlias = Literal["rgb", "bgr"]

_MAX_BYTES: Final = 1 << 16
_SUFFIXES: Final = (".yaml", ".json")


@dataclass(frozen=True)
class InputContract:
    """How an aligned face becomes a model's input: ``(pixel - mean) / scale``.

    Attributes:
        template: Where the landmarks lie.
        size: Width and height in pixels.
        colour: Order of the channels.
        mean: Taken off every pixel value, 0 to 255.
        scale: What the difference is divided by.
        dim: Length of the embedding; None when the file says it.
    """

    template: Template = "arcface-112"
    size: tuple[int, int] = (112, 112)
    colour: Colour = "rgb"
    mean: float = 127.5
    scale: float = 127.5
    dim: int | None = None


ARCFACE_CONTRACT: Final = InputContract()


def find_sidecar(model: Path) -> Path | None:
    """Find the file beside a model that states its contract: ``<model>.onnx.yaml`` or ``.json``."""
    for suffix in _SUFFIXES:
        path = model.with_name(model.name + suffix)
        if path.is_file():
            return path
    return None


def read_sidecar(path: Path, contract: InputContract) -> InputContract:
    """Read what a sidecar file says of a model's input, over a contract.

    Args:
        path: A YAML or JSON mapping with any of the contract's keys.
        contract: What holds for keys that are not there.

    Raises:
        ModelError: The file is too large, no mapping, or has an unknown key or a wrong value.
    """
    from pydantic import TypeAdapter, ValidationError

    values = _read_mapping(path)
    known = sorted(InputContract.__dataclass_fields__)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            fix = f"did you mean '{near[0]}'?" if near else None
            raise ModelError(path, f"unknown key '{key}'", f"one of {', '.join(known)}", fix)
    merged = {key: getattr(contract, key) for key in known} | values
    try:
        checked = TypeAdapter(InputContract).validate_python(merged)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ModelError(path, f"{place}: {first['input']!r}", first["msg"].lower()) from None
    if checked.scale == 0 or min(checked.size) < 1:
        raise ModelError(path, "a scale or size of 0")
    return replace(contract, **{key: getattr(checked, key) for key in known})


def _read_mapping(path: Path) -> dict[Any, Any]:
    import yaml

    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(path, f"is larger than {_MAX_BYTES} bytes", "a few lines of YAML")
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        # An alias can unfold to any size, and nothing here needs one.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ModelError(path, "uses a YAML alias", "plain values")
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = str(error).splitlines()[0]
        raise ModelError(path, f"is no YAML ({line})") from None
    if not isinstance(values, dict):
        raise ModelError(path, f"holds a {type(values).__name__}", "a mapping of keys to values")
    return values
