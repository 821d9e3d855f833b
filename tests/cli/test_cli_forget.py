import json
import shutil
from pathlib import Path

import pytest
from support.erasures import digests, make_whole_store
from typer.testing import CliRunner

from fusekit.cli import forget as command
from fusekit.cli.main import app


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli-forget") / "store"
    make_whole_store(path)
    return path


@pytest.fixture
def store(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(whole, tmp_path / "store"))


def run(*words):
    return CliRunner().invoke(app, ["forget", *map(str, words)])


def test_json_is_the_last_line_and_nobody_is_asked(store):
    done = run("--identity", "bob", "--store", store, "--json")
    about = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 0
    assert (about["samples"], about["shards"], about["proved"]) == (8, 2, True)


def test_the_output_says_what_and_where_and_that_it_is_proved(store):
    done = run("--identity", "Ann Lee", "--everywhere", "--store", store)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[2].split() == ["others", "n2", "5", "5", "1", "0"]
    assert lines[3].split() == ["people", "Ann", "Lee", "(Annabel", "Lee)", "9", "9", "2", "0"]
    assert lines[-2:] == [
        "mixtures with such rows: ten",
        "proved: no file of the store holds any of it",
    ]


def test_a_dry_run_says_that_nothing_was_erased(store):
    before = digests(store)
    done = run("--identity", "bob", "--dry-run", "--store", store)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "nothing was erased")
    assert digests(store) == before


def test_what_is_left_is_said_and_is_no_success(store):
    (store / "list.json").write_text('["bob"]')
    done = run("--identity", "bob", "--store", store)
    assert done.exit_code == 1
    assert "not all is gone: list.json still holds some of it" in done.stderr


def test_on_a_terminal_it_asks_first(store, monkeypatch):
    before, asked = digests(store), []

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr(command, "sys", type("S", (), {"stdin": Terminal(), "stdout": Terminal()}))
    monkeypatch.setattr(command.typer, "confirm", lambda text, **_: asked.append(text))
    done = run("--identity", "bob", "--store", store)
    assert asked == ["Erase this for good?"]
    assert "nothing was erased" in done.stdout
    assert digests(store) == before
    run("--identity", "bob", "--store", store, "--yes")
    assert len(asked) == 1
    assert digests(store) != before
