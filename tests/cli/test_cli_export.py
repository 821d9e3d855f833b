"""``fusekit export`` as scripts call it."""

import json
import shlex

import pytest
from support.exports import make_evaluation_set, make_mixture, read_pairs, write_pairs
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.errors import StorageError, StoreError


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    storage = make_mixture(tmp_path_factory.mktemp("cli") / "store")
    make_evaluation_set(storage)
    pairs = read_pairs(storage)
    write_pairs(storage, "lfw", [pairs[0] | {"key_a": None}, *pairs[1:]])
    return storage


@pytest.fixture
def run(storage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSEKIT_STORE", str(storage.root))
    return lambda line: CliRunner().invoke(app, shlex.split(line))


def test_the_result_is_json_on_one_line(run, tmp_path):
    done = run("export m --format recordio --out pack --json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["images"], result["classes"], result["state"]) == (16, 4, "written")
    assert (tmp_path / "pack" / "train.rec").is_file()


def test_people_see_counts_on_stdout_and_remarks_on_stderr(run):
    done = run("export m --format folders --out out --part unlabeled --dry-run")
    assert done.exit_code == 0, done.output
    shown = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert (shown["images"], shown["state"], shown["bytes"][-3:]) == ("9", "dry run", " kB")
    assert done.stderr.splitlines()[-1] == (
        "fusekit: the 16 labeled samples are another export: --part labeled"
    )


def test_bin_takes_an_evaluation_set_and_its_options(run, tmp_path):
    with pytest.raises(StoreError, match="1 of 40 pairs"):
        CliRunner().invoke(
            app, shlex.split("export lfw --format bin --out lfw.bin"), catch_exceptions=False
        )
    done = run("export lfw --format bin --out lfw.bin --skip-missing --protocol view-2 --json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["pairs"] == 39
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lfw.bin", "lfw.bin.json"]


def test_what_is_there_is_not_written_over(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("x")
    done = run("export m --format lmdb --out out")
    assert isinstance(done.exception, StorageError)


def test_an_unknown_format_is_a_usage_error(run):
    done = run("export m --format rec --out out")
    assert done.exit_code == 2
    assert "recordio" in done.stderr
