"""Compile what fusekit has in C while it is built; without a compiler, leave it out."""

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

#: What is compiled, with which options, and what happens without it.
LIBRARIES = {
    "fusekit/loader/crops/decode_run": (("-ljpeg",), "crops will be decoded one by one"),
    "fusekit/loader/crops/copy_run": ((), "stored pixels will be copied one by one"),
    "fusekit/curate/near_run": ((), "fusekit dedup will compare hashes ten times slower"),
    # Nothing here waits for a floating-point trap; where one may come, no vectors are made.
    "fusekit/curate/softmax_run": (
        ("-fno-trapping-math", "-lm"),
        "fusekit filter will be a fourth slower",
    ),
}
PATIENCE_S = 120


class CompileHook(BuildHookInterface):
    """Add the compiled libraries to a wheel, or put them beside their source if it is editable.

    ``FUSEKIT_NATIVE=0`` leaves them out. Nothing that goes wrong here ends an install: all
    work is done without them too.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before the wheel is put together."""
        self._folder = Path(tempfile.mkdtemp(prefix="fusekit-build-"))
        for name, (options, otherwise) in LIBRARIES.items():
            target = f"{name}.so"
            beside = Path(self.root) / target
            if version == "editable":
                beside.unlink(missing_ok=True)  # it may be of an older source
            if os.environ.get("FUSEKIT_NATIVE") == "0":
                continue
            made = self._folder / Path(target).name
            problem = compile_library(Path(self.root) / f"{name}.c", made, options)
            if problem:
                self.app.display_info(f"fusekit: {otherwise} ({problem})")
            elif version == "editable":
                # Under another name first: a process may have the old one open.
                shutil.copy(made, f"{beside}.new")
                Path(f"{beside}.new").replace(beside)
            else:
                build_data["force_include"][str(made)] = target
                build_data["pure_python"] = False
                # They call nothing of Python, so one wheel serves every version of it.
                platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                build_data["tag"] = f"py3-none-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Clear away, once it is in the wheel."""
        shutil.rmtree(self._folder, ignore_errors=True)


def compile_library(source: Path, library: Path, options: tuple[str, ...]) -> str | None:
    """Compile; give what went wrong, in a line, or None."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = [*compiler, "-O3", "-fPIC", "-shared", "-o", str(library), str(source), *options]
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
