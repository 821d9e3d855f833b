"""The how-to of reports: its commands and its Python run as they stand."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from support.people import draw_images, draw_people, embed_as
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.mixture.build import build_mixture
from fusekit.report import looks
from fusekit.store.layout import open_store

PAGE = (Path(__file__).parents[2] / "docs/how-to/read-a-report.md").read_text()
RECIPE = """
name: ten
labeled: [{dataset: vggface2}, {dataset: ms1m}]
batch: {size: 16}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A store of two drawn datasets with embeddings; drawn crops need no detector."""
    storage = open_store(tmp_path / "faces", create=True)
    people = draw_people(12)
    for name, first in (("vggface2", 0), ("ms1m", 6)):
        info = make_dataset(storage, name, {f"p{i}": 8 for i in range(6)}, seed=first)
        drawn = [draw_images(people[first + i], 8, seed=first + i) for i in range(6)]
        embed_as(storage, info, np.concatenate(drawn))
    (tmp_path / "ten.yaml").write_text(RECIPE)
    build_mixture(tmp_path / "ten.yaml", tmp_path / "faces")
    monkeypatch.setattr(looks, "_detector", lambda report: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUSEKIT_STORE", raising=False)
    return tmp_path


def test_its_commands_run_in_their_order(folder):
    lines = re.findall(r"^\$ fusekit (.*)$", PAGE, re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        result = CliRunner().invoke(app, shlex.split(line))
        assert result.exception is None, (line, result.output)
    for made in ("report.html", "vggface2.html", "ten.html", "people.png"):
        assert (folder / made).stat().st_size > 1000, made


def test_its_python_runs(folder, capsys):
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    exec(compile(code, "read-a-report.md", "exec"), {})
    first, second = capsys.readouterr().out.splitlines()
    assert first == "8.0 0.0 100.0"
    assert second.endswith(" []")


def test_its_numbers_are_those_of_the_code():
    assert f"on {looks._CROPS} crops" in PAGE
    words = (
        f"more than {looks._MOST_SHIFT:.0f} pixels, sizes {looks._MOST_SCALE * 100:.0f} % and "
        f"stretches {looks._MOST_STRETCH * 100:.0f} %"
    )
    assert words in " ".join(PAGE.split())
