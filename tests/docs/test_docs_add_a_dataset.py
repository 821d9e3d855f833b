"""The how-to that adds a dataset by a card alone, followed word for word."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from support.forms import face_photo
from support.raw import write_files
from typer.testing import CliRunner

from fusekit.cards.card import Card
from fusekit.cli.main import app

PAGE = Path(__file__).parents[2] / "docs/how-to/add-a-dataset.md"


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.mark.network
def test_the_page_adds_a_dataset_by_its_card_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = re.findall(r"photos/\S+\.jpg", blocks("")[0])
    assert len(pictures) == 3
    files = {f"raw/staff/{name}": face_photo(n) for n, name in enumerate(pictures)}
    files |= {
        "raw/staff/names.txt": "id_0007 Ann Example\nid_0031 Bob Example\n",
        "raw/staff/readme.pdf": "%PDF",
        "staff.yaml": blocks("yaml")[0],
    }
    write_files(tmp_path, files)
    rehearsal, ingest, query = (
        shlex.split(line.removeprefix("$ "))
        for block in blocks("console")
        for line in block.splitlines()
    )

    shown = run(rehearsal)
    assert ["images", "3", "4", "-1"] in words(shown.stdout)
    assert "passed over as no item: 1 files outside identity folders" in shown.stderr
    assert "passed over as no item: 1 lists that were read" in shown.stderr
    assert not (tmp_path / "fusekit-store").exists()
    assert words(run(ingest).stdout)[2][:5] == ["staff", "folders", "3", "3", "0"]
    assert words(run(query).stdout)[2:] == [
        ["id_0007", "Ann", "Example"],
        ["id_0031", "Bob", "Example"],
    ]


def test_the_other_forms_on_the_page_are_forms():
    (whole, forms) = (yaml.safe_load(text) for text in blocks("yaml"))
    card = Card.model_validate(whole | forms)
    assert [form.name for form in card.resolved()] == ["recordio", "folders"]
    assert card.form("recordio").images == 3


def run(argv):
    result = CliRunner().invoke(app, argv[1:] + (["--workers", "0"] if argv[1] == "ingest" else []))
    assert result.exit_code == 0, result.output
    return result


def words(text):
    return [line.split() for line in text.splitlines() if line.strip()]
