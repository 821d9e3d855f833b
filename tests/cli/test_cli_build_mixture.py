"""What ``fusekit build-mixture`` shows, dry and built."""

import json

import pytest
from support.recipes import give_finding
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.store.layout import open_store

RECIPE = """
name: m
labeled:
  - {dataset: vgg, where: "det_score > 0.52", min_images: 2}
  - {dataset: rec}
unlabeled:
  - {dataset: crawl}
exclude: {identities: {vgg: [ann]}}
"""


@pytest.fixture
def place(tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 4, "bob": 2, "cid": 1})
    make_dataset(storage, "rec", {"0": 3})
    make_dataset(storage, "crawl", 5)
    give_finding(storage, "overlap", ["vgg", "rec"], [])
    (tmp_path / "m.yaml").write_text(RECIPE)
    return tmp_path


def run(place, *options):
    command = ["build-mixture", str(place / "m.yaml"), "--store", str(place / "s"), *options]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_dry_run_shows_the_rows_before_and_after_each_rule(place):
    shown = run(place, "--dry-run")
    rows = [line.split() for line in shown.splitlines()]
    table = rows[
        rows.index(["dataset", "rule", "rows", "in", "taken", "rows", "out", "identities"]) + 2 :
    ]
    assert table == [
        ["vgg", "where", "7", "3", "4", "3"],
        ["vgg", "exclude", "4", "1", "3", "2"],
        ["vgg", "min_images", "3", "1", "2", "1"],
        ["rec", "exclude", "3", "0", "3", "1"],
        ["crawl", "no", "rule", "5", "0", "5", "-"],
        [],
        ["not", "filtered", "by", "max_activation:", "crawl"],
        [],
        ["1", "identity", "left", "out,", "named", "in", "mixture.json"],
    ]
    assert max(map(len, shown.splitlines())) <= 80
    assert not (place / "s/mixtures").exists()


def test_a_build_tells_in_a_line_what_the_rules_took(place):
    shown = run(place)
    assert "vgg: 2 of 7 samples (where took 3, exclude took 1, min_images took 1)" in shown
    assert "crawl: 5 of 5 samples; not filtered" in shown
    assert "rows in" not in shown


def test_json_has_the_steps_and_whom_the_recipe_left_out(place):
    told = json.loads(run(place, "--dry-run", "--json").splitlines()[-1])
    assert told["removed"] == [
        {"dataset": "vgg", "identity": "ann", "reason": "named by the recipe"}
    ]
    assert [step["rule"] for step in told["datasets"][0]["steps"]] == [
        "where", "exclude", "min_images",
    ]  # fmt: skip
    assert told["overlap"]["people"] == 0
    assert told["checked_against"] == []
