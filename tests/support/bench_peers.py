"""The peers of the loader's benchmark: their environment, and the processes they run in."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

BENCH = Path(__file__).parents[1] / "bench"
REQUIREMENTS = BENCH / "requirements.txt"
ENVIRONMENT = BENCH.parents[1] / ".bench-venv"


def make_environment() -> str:
    """Make the peers' environment when it is not there or its list has changed.

    Returns:
        Its interpreter. A package that won't install is left out: the peers that need it fail as
        they start, and their lines of the table say how.
    """
    python = ENVIRONMENT / "bin" / "python"
    mark, wanted = ENVIRONMENT / "installed", hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if mark.is_file() and mark.read_text() == wanted:
        return str(python)
    print(f"installing the peers into {ENVIRONMENT.name} (once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    pins = [line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    pins = [pin for pin in pins if pin]
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # torch with what its build needs; the others as listed, because their own limits exclude
    # each other.
    subprocess.run([*install, *(pin for pin in pins if pin.startswith("torch=="))], check=False)
    alone = [*install, "--no-deps"]
    if subprocess.run([*alone, *pins], check=False).returncode:
        for pin in pins:
            subprocess.run([*alone, pin], check=False)
    mark.write_text(wanted)
    return str(python)


class Side:
    """One side of the benchmark, in a process of its own; see ``bench/peers/worker.py``."""

    def __init__(self, name: str, folder: Path, python: str = sys.executable) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        own = {
            "OMP_NUM_THREADS": "1", "FUSEKIT_CACHE": str(folder / "cache"),
            "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1",
            # Locks and sockets that a library leaves behind go with the folder.
            "HOME": str(folder), "TMPDIR": str(folder),
        }  # fmt: skip
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(BENCH / "peers" / "worker.py"), name, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            env={**os.environ, **own},
        )  # fmt: skip

    def ask(self, do: str, **more):
        """Have something done; give the answer.

        Raises:
            PeerError: The side failed; the first line of its error.
        """
        try:
            self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["no message"])[-1]
            raise PeerError(f"its process ended: {last}") from None
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


class PeerError(Exception):
    """A side could not be installed, opened or run."""
