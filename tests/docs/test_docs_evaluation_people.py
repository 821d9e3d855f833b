"""The pages on keeping evaluation people out and on reviews: their commands run, in their order."""

import csv
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from support.people import draw_images, draw_people, embed_as
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cards.card import list_cards
from fusekit.cli.main import app
from fusekit.curate.names import name_key, names_match
from fusekit.store.layout import open_store

HOW_TO = Path(__file__).parents[2] / "docs/how-to"
PEOPLE = draw_people(140, dim=128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four people of two training sets are in LFW; one more has a namesake there."""
    folder = tmp_path_factory.mktemp("pages")
    storage = open_store(folder / "faces", create=True)
    sets = {
        "vggface2": {**{f"n{i:06d}": i for i in range(30)}, "steve_martin": 30},
        "ms1m": {str(i): i for i in range(28, 60)},
        "lfw": {**{f"m{i:06d}": i for i in (2, 3, 40, *range(70, 100))}, "Steve_Martin": 130},
        "agedb": {f"a{i:06d}": i for i in (3, *range(100, 130))},
    }
    for seed, (name, who) in enumerate(sets.items()):
        kind = "evaluation" if name in ("lfw", "agedb") else "labeled"
        info = make_dataset(
            storage, name, dict.fromkeys(who, 4), kind=kind, unit_size=512, seed=seed
        )
        images = [draw_images(PEOPLE[i], 4, 500 * seed + i, spread=0.5) for i in who.values()]
        embed_as(storage, info, np.concatenate(images))
    return folder


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL)


def run(line):
    words = shlex.split(line.removeprefix("$ "))
    assert words[0] == "fusekit"
    done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_pages_commands_leave_evaluation_people_out(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (recipe,) = blocks("keep-evaluation-people-out.md", "yaml")
    Path("clean.yaml").write_text(recipe)
    check, build = blocks("keep-evaluation-people-out.md", "console")
    assert "name" in run(check.strip())
    for line in build.strip().splitlines():
        run(line)
    removed = json.loads(Path("faces/mixtures/clean/mixture.json").read_text())["removed"]
    assert {(r["dataset"], r["identity"]) for r in removed} == {
        ("vggface2", "n000002"), ("vggface2", "n000003"), ("vggface2", "steve_martin"),
        ("ms1m", "40"),
    }  # fmt: skip
    lay_out, take_back = blocks("review-findings.md", "console")
    for line in lay_out.strip().splitlines():
        run(line)
    file = Path("review/decisions.csv")
    rows = list(csv.DictReader(io.StringIO(file.read_text("utf-8-sig"))))
    assert [row["identity"] for row in rows] == ["steve_martin"]
    filled = io.StringIO()
    writer = csv.DictWriter(filled, rows[0])
    writer.writeheader()
    writer.writerows({**row, "decision": "different"} for row in rows)
    file.write_text(filled.getvalue())
    taken = run(take_back.strip())
    assert re.search(r"^decided +1$", taken, re.MULTILINE)
    Path("clean.yaml").write_text(recipe.replace("name: clean", "name: reviewed"))
    run("fusekit build-mixture clean.yaml --store faces")
    removed = json.loads(Path("faces/mixtures/reviewed/mixture.json").read_text())["removed"]
    assert {r["identity"] for r in removed} == {"n000002", "n000003", "40"}


def test_the_page_s_figures_are_those_of_the_cards():
    page = (HOW_TO / "keep-evaluation-people-out.md").read_text()
    known = {
        (card.name, o.dataset): o.identities
        for card in list_cards()
        for o in card.overlaps
        if o.ids
    }
    assert f"shares {known['casia-webface', 'lfw']}\npeople with LFW" in page
    assert f"VGGFace2 {known['vggface2', 'lfw']}" in page
    assert {evaluation for _, evaluation in known} == {"lfw", "facescrub"}
    lfw = next(card for card in list_cards() if card.name == "lfw")
    assert f"{lfw.identities:,} and a rate of 1e-6, {lfw.identities * 10_000 / 1e6:.0f}" in page


def test_the_page_s_names_match_as_it_says():
    assert names_match("ben_afflek", "Ben Affleck") is True
    assert names_match("Ziyi Zhang", "Zhang Ziyi") is False
    assert name_key("0000513") is None
    assert name_key("n000021") is None
