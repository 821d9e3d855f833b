"""What the shell offers for a half-typed name: listed from folders, without opening any file."""

import os
from pathlib import Path

import typer

from fusekit.shipped import shipped
from fusekit.store.layout import DEFAULT_STORE, STORE_VARIABLE


def complete_card(incomplete: str) -> list[str]:
    """Offer the names of fusekit's own cards."""
    return _starting(incomplete, list(shipped("manifests")))


def complete_stored(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the datasets of the store that the command line names."""
    return _starting(incomplete, _in_store(context, "datasets"))


def complete_known(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the datasets and mixtures of the store that the command line names."""
    names = _in_store(context, "datasets") + _in_store(context, "mixtures")
    return _starting(incomplete, names)


def _in_store(context: typer.Context, folder: str) -> list[str]:
    store = context.params.get("store") or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
    path = Path(store, folder).expanduser()
    return [p.name for p in path.iterdir()] if path.is_dir() else []


def _starting(incomplete: str, names: list[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
