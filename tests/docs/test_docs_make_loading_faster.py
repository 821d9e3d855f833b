"""The how-to of faster loading: its Python runs as it stands, its figures follow from the code."""

import re
from pathlib import Path

from support.exports import make_mixture
from support.recipes import build

from fusekit.loader.cache import CacheSettings
from fusekit.loader.crops.crop_file import MOST

PAGE = (Path(__file__).parents[2] / "docs/how-to/make-loading-faster.md").read_text()


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    storage = make_mixture(tmp_path / "fusekit-store")
    build(storage, "vgg", "rec", unlabeled=["crawl"], name="ten")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == "100% of the rows have room\n" * 3
    assert len(list((tmp_path / "cache/decoded").glob("*.crops"))) == 1


def test_its_figures_are_those_of_the_code():
    assert f"{112 * 112 * 3:,} bytes" in PAGE
    assert f"{MOST / 1e9:.0f} GB and at most half" in PAGE
    assert f"{256 * 112 * 112 * 3 / 1e6:.1f} MB for each batch of 256" in PAGE
    assert CacheSettings.of("decoded").size is None
