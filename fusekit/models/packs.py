"""InsightFace's model packs: found where its own code puts them, fetched by that code.

Only finding and fetching is InsightFace's. The files are run by fusekit's own detector and
embedder: with one thread, at fixed scales, and without importing the package in every worker.
Fetching is left to a process of its own, which can be stopped when the network swallows it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusekit.errors import MissingExtraError, ModelError
from fusekit.models.onnx_graph import detector_layout, embedder_input, read_graph
from fusekit.progress import Progress

if TYPE_CHECKING:
    from fusekit.models.catalogue import Task
    from fusekit.progress import Report

_POLL_S: Final = 0.2
_STALL_S: Final = 60.0
_FETCH: Final = """
import sys
from insightface.utils import ensure_available
ensure_available("models", sys.argv[1], root=sys.argv[2])
"""


def pack_home() -> Path:
    """Give the folder that holds packs: ``INSIGHTFACE_HOME`` or ``~/.insightface``, ``models``."""
    home = os.environ.get("INSIGHTFACE_HOME") or "~/.insightface"
    return Path(home).expanduser() / "models"


def find_pack(name: str) -> Path | None:
    """Find the folder with a pack's ONNX files; None when the pack is not here."""
    folder = pack_home() / name
    for place in (folder, folder / name):  # antelopev2's archive holds a folder of its own name
        if place.is_dir() and any(place.glob("*.onnx")):
            return place
    return None


def fetch_pack(name: str, report: Report, stall_s: float = _STALL_S) -> Path:
    """Fetch a pack with InsightFace's own code, unless it is here.

    Args:
        name: ``buffalo_l`` or another pack of its model zoo.
        report: Told the bytes that have arrived.
        stall_s: Seconds without a new byte after which it is given up.

    Returns:
        The folder with the pack's ONNX files.

    Raises:
        MissingExtraError: The package insightface is not installed.
        ModelError: The pack can't be had.
    """
    found = find_pack(name)
    if found:
        return found
    spec = f"insightface/{name}"
    if importlib.util.find_spec("insightface") is None:
        raise MissingExtraError(spec, "insightface")
    home = pack_home()
    home.mkdir(parents=True, exist_ok=True)
    # Fetched and unpacked aside: a kill half-way must leave nothing that looks like the pack.
    with (
        tempfile.TemporaryFile() as log,
        tempfile.TemporaryDirectory(prefix=".fusekit-", dir=home) as aside,
    ):
        archive = Path(aside, "models", f"{name}.zip")
        command = [sys.executable, "-c", _FETCH, name, aside]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            _watch(process, archive, f"fetch {spec}", report, stall_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines() or ["no reason given"]
        if process.returncode == 0 and (pack := Path(aside, "models", name)).is_dir():
            pack.replace(home / name)
    found = find_pack(name)
    if process.returncode != 0 or found is None:
        reason = lines[-1].rpartition("Caused by ")[2]
        if process.returncode < 0:
            reason = f"nothing arrived for {stall_s:.0f} s"
        raise ModelError(
            spec,
            f"its model zoo can't be reached ({reason[:160]})",
            f"the pack's .onnx files in {home / name}",
            "connect, or copy them there",
        )
    return found


def pick_file(folder: Path, pack: str, task: Task) -> Path:
    """Pick a pack's detector or recognition model by what the files declare.

    Raises:
        ModelError: The pack has no file for the task.
    """
    for path in sorted(folder.glob("*.onnx")):
        graph = read_graph(path)
        try:
            if task == "detect":
                detector_layout(graph, path)
            else:
                embedder_input(graph, path)
        except ModelError:
            continue
        return path
    where = f"insightface/{pack}"
    raise ModelError(where, f"has no model that can {task}", None, str(folder))


def _watch(
    process: subprocess.Popen[bytes], archive: Path, stage: str, report: Report, stall_s: float
) -> None:
    size, since = -1, time.monotonic()
    while time.monotonic() - since < stall_s:
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            now = archive.stat().st_size if archive.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
                report(Progress(stage, size, None, "bytes"))
        else:
            return
