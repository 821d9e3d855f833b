"""``import fusekit`` and its help stay light: nothing heavy is imported before it is used."""

import ast
import subprocess
import sys

import pytest

HEAVY = [
    "torch", "cv2", "duckdb", "pyarrow", "onnxruntime", "numpy", "pydantic", "fsspec", "yaml",
    "rich.console",
]  # fmt: skip


def loaded_by(code):
    """The heavy modules that a fresh interpreter has loaded after running the code."""
    report = f"\nimport sys; print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()[-1]


def test_importing_fusekit_loads_nothing_heavy():
    assert loaded_by("import fusekit") == "[]"


@pytest.mark.parametrize(
    ("words", "loaded"),
    # Typer itself checks a command's parameters by pydantic, in its own time.
    [(["--help"], []), (["ingest", "--help"], ["pydantic"]), (["verify", "--help"], ["pydantic"])],
)
def test_help_loads_nothing_heavy(words, loaded):
    code = f"""
import sys
sys.argv = ["fusekit", *{words!r}]
from fusekit.cli.main import run
try:
    run()
except SystemExit as end:
    assert end.code == 0, end.code
"""
    assert set(ast.literal_eval(loaded_by(code))) <= set(loaded)


def test_completing_a_name_loads_nothing_heavy():
    code = """
from fusekit.cli.complete import complete_card
assert "vggface2" in complete_card("vgg")
"""
    assert loaded_by(code) == "[]"
