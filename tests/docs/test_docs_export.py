"""The how-to of exports: its commands and its Python run as they stand."""

import importlib
import os
import re
import shlex
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

import pytest
from support.exports import make_evaluation_set, make_mixture
from support.recipes import build
from typer.testing import CliRunner

from fusekit.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs/how-to/export-a-mixture.md").read_text()


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    storage = make_mixture(tmp_path / "fusekit-store")
    build(storage, "vgg", "rec", unlabeled=["crawl"], name="ten")
    make_evaluation_set(storage)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUSEKIT_STORE", raising=False)
    library = importlib.import_module("datasets")
    library.disable_progress_bars()
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    lines = [line for block in blocks("console") for line in block.splitlines()]
    assert len(lines) == 8
    for line in lines:
        done = CliRunner().invoke(app, shlex.split(line.removeprefix("$ fusekit ")))
        assert done.exit_code == 0, done.output
    formats = re.findall(r"^\| `(\w+)` \| `", PAGE, flags=re.MULTILINE)
    assert [*formats, "bin"] == re.findall(r"--format (\w+)", "\n".join(lines[1:6] + lines[7:]))
    for code in blocks("python"):
        exec(code, {})
    shown = capsys.readouterr().out.splitlines()
    assert shown[-2].endswith("['vgg/ann', 'vgg/bob/..']")
    assert shown[-1] == "(112, 112, 3)"
