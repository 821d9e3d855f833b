"""The how-to of object stores: its Python runs as it stands, against an S3 server on loopback."""

import re
from pathlib import Path

import pytest
from support.object_server import environment, s3_server, upload
from support.recipes import build
from support.stores import make_dataset

from fusekit.loader.cache import CacheSettings
from fusekit.loader.remote.settings import CACHE_BYTES
from fusekit.storage.retry import Retry
from fusekit.store.layout import open_store

PAGE = (Path(__file__).parents[2] / "docs/how-to/train-from-an-object-store.md").read_text()


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    storage = open_store(tmp_path / "fusekit-store", create=True)
    make_dataset(storage, "vgg", {f"p{k}": 20 for k in range(8)}, index=8)
    make_dataset(storage, "crawl", 60)
    build(storage, "vgg", unlabeled=["crawl"], name="demo")
    with s3_server(tmp_path / "log") as endpoint:
        upload(storage.root, endpoint, "fusekit-store")
        for name, value in environment(endpoint, tmp_path / "cache").items():
            monkeypatch.setenv(name, value)
        (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
        exec(code, {})
        monkeypatch.setenv("FUSEKIT_STORE", "s3://faces/fusekit-store")
        exec(code.replace("s3://faces/fusekit-store/mixtures/demo", "demo"), {})
    assert capsys.readouterr().out == "0 requests were made again\n" * 2


def test_the_pages_figures_are_the_codes():
    assert CACHE_BYTES == 20_000_000_000
    assert CacheSettings.of({"size": "20 GB"}).size == CACHE_BYTES
    retry = Retry()
    assert f"up to {retry.most_s:.0f} s, for at\nmost {retry.tries} tries or 2 minutes" in PAGE
    assert retry.total_s == 120
