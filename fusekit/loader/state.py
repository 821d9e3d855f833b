"""The loader's state: a few integers and fingerprints, checked when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fusekit.errors import StateError
from fusekit.fingerprint import fingerprint

if TYPE_CHECKING:
    from fusekit.loader.order.order import OrderSettings

STATE_VERSION: Final = 1


def make_state(selection: str, settings: OrderSettings, step: int) -> dict[str, Any]:
    """Make the state of a loader that has handed out all steps before ``step``.

    Args:
        selection: The mixture's fingerprint.
        settings: The order's.
        step: The next step.

    Returns:
        JSON values, under 1 KB whatever the mixture.
    """
    order = settings.as_json()
    if order["weights"] is not None:
        order["weights"] = fingerprint(order["weights"])
    return {
        "format_version": STATE_VERSION, "selection": selection,
        "global_batch": order.pop("global_batch"), "order": order, "step": step,
    }  # fmt: skip


def read_step(state: Mapping[str, Any], selection: str, settings: OrderSettings) -> int:
    """Give the step that a state stands at, if it belongs to this selection and order.

    Raises:
        StateError: It is no loader state, is of a newer format, or belongs to another mixture,
            order or global batch; the first field that differs is named.
    """
    if not isinstance(state, Mapping) or type(state.get("format_version")) is not int:
        raise StateError("state", "is no loader state", "what state_dict() gave")
    version, step = state["format_version"], state.get("step")
    if version > STATE_VERSION:
        raise StateError("state", f"has format {version}", f"at most {STATE_VERSION}")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise StateError("state", f"step is {step!r}", "an integer from 0 on")
    wanted, found = _flat(make_state(selection, settings, step)), _flat(state)
    # The mixture first: another one has other settings too.
    for name in sorted(wanted.keys() | found.keys(), key=lambda name: (name != "selection", name)):
        old, new = found.get(name), wanted.get(name)
        if old != new or (name in found) != (name in wanted):
            raise StateError("state", f"{name} is {old!r}", f"{new!r}", _fix(name))
    return step


def _flat(state: Mapping[str, Any]) -> dict[str, Any]:
    flat = {k: v for k, v in state.items() if k != "order"}
    order = state.get("order")
    if isinstance(order, Mapping):
        flat |= {f"order.{k}": v for k, v in order.items()}
    return flat


def _fix(name: str) -> str:
    if name == "selection":
        return "it was saved with another mixture, or the mixture was built again"
    if name == "global_batch":
        return "keep batch_size * world_size when the world size changes"
    return "open the loader with the settings that it was saved with"
