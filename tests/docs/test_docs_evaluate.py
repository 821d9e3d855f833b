"""The page on evaluating models: its commands and its Python run, in their order."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest
from support.coded_faces import draw_pairs, make_coded_set, pairs_of
from support.onnx_models import mean_colour_embedder
from support.recipes import recipe
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.mixture.build import build_mixture
from fusekit.store.layout import open_store

PAGE = Path(__file__).parents[2] / "docs/how-to/evaluate-a-model.md"
IMAGES = 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The sets that the page names, of drawn people, a mixture and a model."""
    storage = open_store(tmp_path / "faces", create=True)
    for seed, name in enumerate(("lfw", "cfp-fp", "agedb-30", "rfw")):
        table = pairs_of(draw_pairs(12, IMAGES, 400, 10, seed), IMAGES)
        make_coded_set(storage, name, 12, IMAGES, protocol={"pairs": table}, seed=seed)
    make_dataset(storage, "train", {"a": 3, "b": 3})
    build_mixture(recipe("train", name="ten"), storage.root)
    mean_colour_embedder(tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_s_commands_run(folder):
    lines = [line for block in blocks("console") for line in block.strip().splitlines()]
    assert len(lines) == 7
    for line in lines:
        words = shlex.split(line.removeprefix("$ "))
        assert words[0] == "fusekit"
        done = CliRunner().invoke(app, [*words[1:], "--workers", "0"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        if "--mixture" in words:
            assert done.stderr.count("was not checked against") == 2
    about = json.loads(done.stdout)["lfw"]
    assert list(about["tar"]) == ["0.01", "0.001"]
    assert (folder / "roc.svg").read_text().startswith("<svg")


def test_every_key_of_the_json_is_on_the_page(folder):
    line = "evaluate model.onnx --on lfw --json --store faces --workers 0 --by media --gallery 3 "
    done = CliRunner().invoke(app, shlex.split(line + "--neighbours 1 --mixture ten"))
    table = PAGE.read_text().split("| key | is |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert set(json.loads(done.stdout)["lfw"]) <= named


def test_the_page_s_python_runs(folder):
    (code,) = blocks("python")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(code, {})
    assert shown.getvalue().startswith("400 0.9") or shown.getvalue() == "400 1.0\n"
