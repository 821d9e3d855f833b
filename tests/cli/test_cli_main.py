import json
import os
import signal
import subprocess
import sys

import pytest
from support.stores import make_dataset

from fusekit.cli import main
from fusekit.errors import UsageError, WorkError
from fusekit.store.layout import open_store


def fusekit(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "fusekit", *words],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys):
    """Run main with an app that raises; give the exit code and stderr."""

    def run(error):
        def app():
            raise error

        monkeypatch.setattr(main, "app", app)
        with pytest.raises(SystemExit) as end:
            main.run()
        return end.value.code, capsys.readouterr().err

    return run


def test_the_version_is_told():
    done = fusekit("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fusekit 0.")


def test_no_command_is_a_usage_error_that_shows_the_help():
    done = fusekit()
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


def test_an_unknown_option_is_a_usage_error():
    done = fusekit("verify", "--fast")
    assert done.returncode == 2
    assert "No such option: --fast" in done.stderr
    assert done.stdout == ""


def test_an_error_is_one_line_on_stderr_with_exit_code_1(tmp_path):
    done = fusekit("datasets", "--store", str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stdout == ""
    expected = f"fusekit: {tmp_path}/none: is no fusekit store; fusekit ingest DATASET --from RAW"
    assert done.stderr == f"{expected} makes one\n"


def test_a_wrong_argument_found_by_the_library_has_exit_code_2(run):
    assert run(UsageError("--format", "'gif'", "jpg, png or raw")) == (
        2, "fusekit: --format: 'gif'; expected jpg, png or raw\n",
    )  # fmt: skip


def test_a_workers_traceback_comes_before_the_line(run):
    error = WorkError("unit 3", "KeyError: 'x'")
    error.add_note("Traceback (most recent call last): ...")
    assert run(error) == (
        1, "Traceback (most recent call last): ...\nfusekit: unit 3: KeyError: 'x'\n",
    )  # fmt: skip


def test_an_unexpected_error_keeps_its_traceback(monkeypatch):
    def app():
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", app)
    with pytest.raises(ZeroDivisionError):
        main.run()


def test_an_interrupt_ends_with_130_and_says_how_to_go_on():
    code = """
import os, signal
from fusekit.cli import main, verify
import fusekit.report.verify
def interrupted(*args, **options):
    os.kill(os.getpid(), signal.SIGINT)
fusekit.report.verify.verify_store = interrupted
import sys
sys.argv = ["fusekit", "verify"]
main.run()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "fusekit: interrupted; run the same command again to go on"
    )
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_quiet(tmp_path):
    store = open_store(tmp_path / "s", create=True)
    make_dataset(store, "a", 3)
    command = f"{sys.executable} -m fusekit sql 'SELECT range FROM range(200000)' --csv --store"
    done = subprocess.run(
        ["bash", "-c", f"{command} {tmp_path}/s | head -1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "range\n"
    assert done.stderr == ""


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path):
    store = open_store(tmp_path / "s", create=True)
    make_dataset(store, "a", {"x": 3, "y": 4})
    done = fusekit("verify", "--json", "--store", str(tmp_path / "s"))
    assert done.returncode == 0
    assert json.loads(done.stdout)["problems"] == []
    assert done.stderr.startswith("verify a: 1 of 1 units")


def test_a_fault_ends_verify_with_exit_code_1(tmp_path):
    store = open_store(tmp_path / "s", create=True)
    make_dataset(store, "a", {"x": 3, "y": 4})
    (tmp_path / "s/datasets/a/shards/a-000000.tar").unlink()
    done = fusekit("verify", "--store", str(tmp_path / "s"))
    assert done.returncode == 1
    assert done.stdout == (
        "datasets/a/shards/a-000000.tar: is missing, with 7 samples\n1 fault in 1 dataset\n"
    )


def test_no_colour_and_no_cut_reach_a_pipe(tmp_path):
    store = open_store(tmp_path / "s", create=True)
    name = "a-rather-long-name-of-a-dataset-that-is-sixty-four-letters-long-"
    make_dataset(store, name, {"x": 3})
    done = fusekit("datasets", "--store", str(tmp_path / "s"), env=os.environ | {"COLUMNS": "40"})
    assert name in done.stdout
    assert "\x1b" not in done.stdout
    assert signal.SIGPIPE  # the test above needs a system that has it
