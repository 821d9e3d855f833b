"""The commands of the page on forgetting run as they are written."""

import re
import shlex
from pathlib import Path

import pytest
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.store.layout import open_store

PAGE = Path(__file__).parents[2] / "docs/how-to/forget-a-person.md"


def test_the_commands_erase_the_person_and_prove_it(tmp_path, monkeypatch):
    make_dataset(open_store(tmp_path / "faces", create=True), "vggface2", {"n000002": 5, "n3": 4})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    lines = re.findall(r"^fusekit (.*?)(?:  +#.*)?$", PAGE.read_text(), re.MULTILINE)
    shown = [CliRunner().invoke(app, shlex.split(line)).stdout for line in lines]
    assert shown[0].endswith("nothing was erased\n")
    assert shown[1].endswith("proved: no file of the store holds any of it\n")


@pytest.mark.parametrize("option", ["--identity", "--source", "--key", "--dataset", "--everywhere"])
def test_the_page_names_every_way_to_name_somebody(option):
    assert option in PAGE.read_text()
    assert option in CliRunner().invoke(app, ["forget", "--help"]).stdout
