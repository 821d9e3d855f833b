"""The model registry: which models there are, whether they are here, and how to get them."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusekit.errors import MissingExtraError, ModelError
from fusekit.fingerprint import file_sha256
from fusekit.models.catalogue import (
    MODELS,
    PACK_PREFIX,
    ModelCard,
    Provider,
    Task,
    folder_sha256,
)
from fusekit.models.contract import ARCFACE_CONTRACT, InputContract, find_sidecar, read_sidecar
from fusekit.models.onnx_graph import detector_layout, embedder_input, read_graph
from fusekit.models.packs import fetch_pack, find_pack, pack_home, pick_file
from fusekit.models.pypi import fetched_archive, read_members
from fusekit.progress import silent
from fusekit.storage.folder import Storage

if TYPE_CHECKING:
    from fusekit.progress import Report

__all__ = [
    "InputContract",
    "ModelCard",
    "ModelStatus",
    "ResolvedModel",
    "cache_folder",
    "get_model",
    "list_models",
    "resolve_model",
]

_EXTRAS: Final = {"dlib-resnet-v1": ("dlib", "dlib")}  # model: module, extra that brings it


@dataclass(frozen=True)
class ModelStatus:
    """One line of ``fusekit models``.

    Attributes:
        name: How commands call it.
        task: ``detect``, ``embed``, ``photos``, or several joined by a comma.
        provider: ``pypi``, ``insightface`` or ``file``.
        sha256: The pinned digest; None when there is none.
        licence: Terms as its makers state them.
        present: Whether it is here and whole.
        path: Where it is, or would be.
    """

    name: str
    task: str
    provider: Provider
    sha256: str | None
    licence: str
    present: bool
    path: Path


@dataclass(frozen=True)
class ResolvedModel:
    """A model that is here: what a worker needs to open it, and what a run records of it.

    Attributes:
        spec: What the user asked for.
        name: A short name fit for file names.
        task: ``detect`` or ``embed``.
        path: The file.
        sha256: Digest of the file; with a sidecar, one of both, since it changes what is made.
        contract: An embedder's input; None for a detector, whose file says all.
    """

    spec: str
    name: str
    task: Task
    path: Path
    sha256: str
    contract: InputContract | None


def cache_folder() -> Path:
    """Give the folder that fetched models are kept in; ``FUSEKIT_CACHE`` overrules the system's."""
    import platformdirs

    override = os.environ.get("FUSEKIT_CACHE")
    root = Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("fusekit"))
    return root / "models"


def list_models() -> list[ModelStatus]:
    """List every model known by name, and whether it is here; nothing is fetched."""
    return [_status(card) for card in MODELS]


def get_model(name: str, report: Report = silent) -> Path:
    """Get a model by name: from the cache, or fetched into it.

    Args:
        name: One of :func:`list_models`.
        report: Told the bytes that have arrived.

    Returns:
        The file; a folder for a pack and for photographs. A digest that is pinned is checked,
        each time; packs have none.

    Raises:
        ModelError: No such model, or it is not here and can't be had.
        MissingExtraError: Fetching it needs a package that is not installed.
        StorageError: The cache can't be written.
    """
    card = _card(name)
    found = _present(card)
    if found:
        return found
    if card.source is None:
        return fetch_pack(card.file, report)
    cache = Storage(cache_folder())
    with fetched_archive(card.name, card.source, report) as archive:
        for member, data in read_members(archive, card.source):
            single = len(card.source.members) == 1
            cache.write(card.file if single else f"{card.file}/{member}", data)
    return _place(card)


def resolve_model(spec: str, task: Task, report: Report = silent) -> ResolvedModel:
    """Find the model that a user names, before any work starts.

    Args:
        spec: A name of the registry, ``insightface/PACK``, or a path to an ``.onnx`` file.
        task: What it is wanted for, ``detect`` or ``embed``.
        report: Told the bytes of what is fetched.

    Raises:
        ModelError: It is not here and can't be had, or is of another kind.
        MissingExtraError: Running or fetching it needs a package that is not installed.
        StorageError: The cache can't be written.
    """
    known = next((card for card in MODELS if card.name == spec), None)
    if known is None:
        path = Path(spec).expanduser()
        if path.suffix.lower() == ".onnx" and not spec.startswith(PACK_PREFIX):
            return _resolve_file(spec, path, path.stem, task)
        known = _card(spec)
    if task not in known.tasks:
        fitting = ", ".join(card.name for card in MODELS if task in card.tasks)
        raise ModelError(spec, f"can {known.task}, not {task}", f"{fitting}, or a path to an .onnx")
    module, extra = _EXTRAS.get(spec, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        raise MissingExtraError(spec, extra)
    path = get_model(spec, report)
    if known.provider == "insightface":
        return _resolve_file(spec, pick_file(path, known.file, task), known.name, task)
    if known.contract is None:
        return _resolve_file(spec, path, known.name, task)
    return ResolvedModel(spec, _slug(known.name), task, path, file_sha256(path), known.contract)


def _status(card: ModelCard) -> ModelStatus:
    found = _present(card)
    return ModelStatus(
        name=card.name,
        task=card.task,
        provider=card.provider,
        sha256=card.sha256,
        licence=card.licence,
        present=found is not None,
        path=found or _place(card),
    )


def _resolve_file(spec: str, path: Path, name: str, task: Task) -> ResolvedModel:
    """Check what an ONNX file declares and settle its contract: graph, then sidecar."""
    graph = read_graph(path)
    contract, sha256 = None, file_sha256(path)
    if task == "detect":
        detector_layout(graph, path)
    else:
        inside = embedder_input(graph, path)
        contract = replace(ARCFACE_CONTRACT, dim=inside.dim)
        if inside.size:
            contract = replace(contract, size=inside.size)
        if inside.normalises:
            contract = replace(contract, mean=0.0, scale=1.0)
        sidecar = find_sidecar(path)
        if sidecar:
            contract = read_sidecar(sidecar, contract)
            sha256 = folder_sha256({"model": sha256, "sidecar": file_sha256(sidecar)})
            if inside.size and contract.size != inside.size:
                raise ModelError(
                    sidecar, f"size is {list(contract.size)}", f"the graph's {list(inside.size)}"
                )
    return ResolvedModel(spec, _slug(name), task, path, sha256, contract)


def _card(name: str) -> ModelCard:
    for card in MODELS:
        if card.name == name:
            return card
    names = [card.name for card in MODELS]
    near = difflib.get_close_matches(name, names, 1)
    raise ModelError(
        name, "no model of this name", f"one of {', '.join(names)}, or a path to an .onnx file",
        f"did you mean '{near[0]}'?" if near else None,
    )  # fmt: skip


def _place(card: ModelCard) -> Path:
    if card.source is None:
        return pack_home() / card.file
    return cache_folder() / card.file


def _present(card: ModelCard) -> Path | None:
    """Give where a model is when it is here and its digests are right."""
    if card.source is None:
        return find_pack(card.file)
    place = _place(card)
    members = card.source.members
    files = [place] if len(members) == 1 else [place / member.name for member in members]
    if not all(file.is_file() for file in files):
        return None
    found = {member.name: file_sha256(file) for member, file in zip(members, files, strict=True)}
    return place if folder_sha256(found) == card.sha256 else None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-.") or "model"
