"""The README's commands are run as written, and its output is what they print.

``FUSEKIT_UPDATE_README=1 pytest tests/docs/test_readme.py`` writes what they print into it.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fusekit.demo.raw import build_raw
from fusekit.mixture.recipe import load_recipe

README = Path(__file__).parents[2] / "README.md"
TEXT = README.read_text()
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def masked(output):
    """Times, fingerprints and the last digits of floating point differ from run to run."""
    output = re.sub(r"\b[0-9a-f]{12,64}\b", "<fingerprint>", output)
    output = re.sub(r"( +)\d+\.\d+$", " <seconds>", output, flags=re.MULTILINE)
    return re.sub(r"\d+\.\d+", "<number>", output).strip()


def sections(block):
    """Yield each command of a console block and the output that follows it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.mark.network
@pytest.mark.slow
def test_the_commands_of_the_readme_print_what_it_says(tmp_path):
    build_raw(tmp_path / "fusekit-demo/raw")
    [block] = BLOCK.findall(TEXT)
    printed = ""
    for command, output in sections(block):
        program, *arguments = shlex.split(command)
        assert program == "fusekit"
        run = subprocess.run(
            [sys.executable, "-m", "fusekit", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        printed += f"$ {command}\n{run.stdout.rstrip()}\n"
        if "FUSEKIT_UPDATE_README" not in os.environ:
            assert masked(run.stdout) == masked(output), command
    if "FUSEKIT_UPDATE_README" in os.environ:
        README.write_text(TEXT.replace(block, printed))


def test_the_recipe_of_the_readme_is_one(tmp_path):
    [text] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "demo.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "demo.yaml")
    assert recipe.name == yaml.safe_load(text)["name"]
