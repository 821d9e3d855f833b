"""``fusekit bench-loader``: a table for people, figures for scripts, one line for what is wrong."""

import json

import pytest
from support.recipes import build
from support.stores import make_dataset
from typer.testing import CliRunner

from fusekit.cli.main import app
from fusekit.errors import FusekitError, LoaderError, MixtureError
from fusekit.store.layout import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("bench") / "faces", create=True)
    make_dataset(storage, "one", {"a": 20, "b": 12})
    make_dataset(storage, "crawl", 9)
    build(storage, "one", unlabeled=["crawl"], name="ten", batch={"size": 8})
    return storage.root


def invoke(store, *words):
    line = ["bench-loader", *words, "--store", str(store), "--seconds", "0.3"]
    return CliRunner().invoke(app, line)


def test_the_table_ends_with_what_bounds_it(store):
    result = invoke(store, "ten", "--threads", "2")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ten: ")
    assert lines[0].endswith("batches of 8, 2 threads, chw, cache shards; medians of 5")
    names = ("loader", "decode limit", "read from shards", "read the first time",
             "copy of decoded crops", "ceiling")  # fmt: skip
    assert [line for line in lines if line.startswith(names)]
    assert sum("█" in line for line in lines) == 6
    assert "limit" in lines[-1] or "ceiling" in lines[-1]


def test_json_has_the_promised_names(store):
    result = invoke(store, "ten", "--json", "--layout", "hwc", "--batch-size", "4")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {"images_per_s", "ceiling", "decode_limit", "bound", "gain", "verdict"} <= found.keys()
    assert found["images_per_s"] > 0
    assert (found["layout"], found["batch_size"], found["mixture"]) == ("hwc", 4, "ten")


def test_every_option_reaches_the_loader(store, monkeypatch, tmp_path):
    asked = {}

    def note(*args, **options):
        asked.update(options, args=args)
        raise LoaderError("enough", "was seen")

    monkeypatch.setattr("fusekit.report.bench_loader.bench_loader", note)
    line = "m --batch-size 32 --threads 3 --layout hwc --cache decoded --process"
    assert isinstance(invoke(tmp_path, *line.split()).exception, LoaderError)
    del asked["report"]
    assert asked == {
        "args": ("m", str(tmp_path)), "batch_size": 32, "threads": 3, "seconds": 0.3,
        "layout": "hwc", "cache": "decoded", "process": True,
    }  # fmt: skip
    invoke(tmp_path, "m")
    assert asked["cache"] is None


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["none"], MixtureError, "holds no finished mixture; fusekit build-mixture RECIPE makes"),
        (["ten", "--threads", "0"], LoaderError, "threads: is 0; expected at least 1"),
        (["ten", "--batch-size", "-3"], LoaderError, "batch_size: is -3; expected at least 1"),
        (["ten", "--seconds", "0"], LoaderError, "seconds: is 0.0; expected more than 0"),
    ],
)
def test_what_cannot_be_is_one_line(store, words, kind, message):
    line = ["bench-loader", "--seconds", "0.3", *words, "--store", str(store)]
    error = CliRunner().invoke(app, line).exception
    assert isinstance(error, kind)
    assert isinstance(error, FusekitError)
    assert message in str(error)
    assert "\n" not in str(error)
