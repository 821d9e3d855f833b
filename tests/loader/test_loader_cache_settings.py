"""What a loader may be told to keep on this machine."""

from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType

import pytest

from fusekit.errors import LoaderError
from fusekit.loader.cache import CacheSettings


@pytest.mark.parametrize(
    ("value", "settings"),
    [
        (None, CacheSettings(decoded=False, shards=True)),
        ("none", CacheSettings(decoded=False, shards=False)),
        ("decoded", CacheSettings(decoded=True, shards=True)),
        ({}, CacheSettings()),
        ({"decoded": True, "shards": False}, CacheSettings(decoded=True, shards=False)),
        ({"folder": "x/y"}, CacheSettings(folder=Path("x/y"))),
        ({"folder": Path("x")}, CacheSettings(folder=Path("x"))),
        ({"folder": None, "size": None}, CacheSettings()),
        (OrderedDict(size=5), CacheSettings(size=5)),
        (MappingProxyType({"size": 5}), CacheSettings(size=5)),
        (CacheSettings(size=7), CacheSettings(size=7)),
    ],
)
def test_every_form_says_what_is_kept(value, settings):
    assert CacheSettings.of(value) == settings


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (1, 1), (10**15 - 1, 10**15 - 1), ("512", 512), ("512 B", 512), ("3KB", 3000),
        (" 20 GB ", 20 * 10**9), ("1.5 GB", 1_500_000_000), ("0.001 KB", 1),
        ("1.001 TB", 1_001_000_000_000), ("4.35 MB", 4_350_000),
    ],
)  # fmt: skip
def test_a_size_is_bytes_or_text(size, count):
    assert CacheSettings.of({"size": size}).size == count


@pytest.mark.parametrize(
    "size", [0, -1, True, 1.5, "", "0 GB", "0.5 B", "-1 GB", "20 gb", "20 GiB", "1e9", "GB", [1],
             "1.2345 GB", "9" * 99]
)  # fmt: skip
def test_what_is_no_size_says_so(size):
    with pytest.raises(LoaderError) as error:
        CacheSettings.of({"size": size})
    assert str(error.value) == f"cache.size: is {size!r}; expected bytes, or text such as '20 GB'"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("all", "cache: is 'all'; expected None, 'none', 'decoded' or {decoded, shards, folder, "
                "size}"),
        (True, "cache: is True; expected None, "),
        (5, "cache: is 5; expected None, "),
        ({"decode": True}, "cache: unknown key 'decode'; expected decoded, shards, folder, size; "
                           "did you mean 'decoded'?"),
        ({3: True}, "cache: unknown key 3; expected decoded, shards, folder, size"),
        ({"decoded": "yes"}, "cache.decoded: is 'yes'; expected true or false"),
        ({"shards": 1}, "cache.shards: is 1; expected true or false"),
        ({"folder": 5}, "cache.folder: is 5; expected a path"),
    ],
)  # fmt: skip
def test_what_no_cache_can_be_says_why(value, message):
    with pytest.raises(LoaderError) as error:
        CacheSettings.of(value)
    assert str(error.value).startswith(message)


def test_a_home_folder_is_spelt_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    assert CacheSettings.of({"folder": "~/c"}).folder == Path("/home/ann/c")
