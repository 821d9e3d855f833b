"""Compile the loader's decoder of runs while fusekit is built; without a compiler, leave it out."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "fusekit/loader/crops"
SOURCE = f"{FOLDER}/decode_run.c"
LIBRARY = f"{FOLDER}/decode_run.so"
PATIENCE_S = 120


class DecodeRunHook(BuildHookInterface):
    """Add the compiled library to a wheel, or put it beside its source for an editable install.

    ``FUSEKIT_NATIVE=0`` leaves it out. Nothing that goes wrong here ends an install: the loader
    decodes without the library too.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before the wheel is put together."""
        self._folder = Path(tempfile.mkdtemp(prefix="fusekit-build-"))
        root, editable = Path(self.root), version == "editable"
        if editable:
            (root / LIBRARY).unlink(missing_ok=True)  # it may be of an older source
        if os.environ.get("FUSEKIT_NATIVE") == "0":
            return
        made = self._folder / "decode_run.so"
        problem = compile_library(root / SOURCE, made)
        if problem:
            self.app.display_info(f"fusekit: crops will be decoded one by one ({problem})")
        elif editable:
            # Under another name first: a process may have the old one open.
            beside = root / f"{LIBRARY}.new"
            shutil.copy(made, beside)
            beside.replace(root / LIBRARY)
        else:
            build_data["force_include"][str(made)] = LIBRARY
            build_data["pure_python"] = False
            # It calls nothing of Python, so one wheel serves every version of it.
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Clear away, once it is in the wheel."""
        shutil.rmtree(self._folder, ignore_errors=True)


def compile_library(source: Path, library: Path) -> str | None:
    """Compile; give what went wrong, in a line, or None."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, "-O3", "-fPIC", "-shared", "-o", str(library), str(source), "-ljpeg"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").splitlines() or [f"exit code {done.returncode}"]
    return next((line for line in lines if "error" in line), lines[0])
