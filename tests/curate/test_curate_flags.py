"""Flags of unlabeled samples: poor crops with their reasons, and copies of a better one."""

import numpy as np
import pyarrow as pa
import pytest
from support.stores import make_dataset

from fusekit.curate.crop_quality import QUALITY_COLUMNS
from fusekit.curate.flags import REASONS, low_quality, make_flags
from fusekit.errors import StoreError
from fusekit.schema import MANIFEST_SCHEMA
from fusekit.store import layout
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table

GOOD = {"eye_distance": 60.0, "sharpness": 500.0, "brightness": 110.0, "jpeg_quality": 90}


def rows(*changes):
    full = [dict.fromkeys(QUALITY_COLUMNS) | GOOD | {"length": 9} | change for change in changes]
    names = ["length", *QUALITY_COLUMNS]
    return pa.Table.from_pylist(
        full, schema=pa.schema([MANIFEST_SCHEMA.field(name) for name in names])
    )


def test_each_reason_is_given_beyond_its_limit_and_not_at_it():
    for reason, (column, low, high) in REASONS.items():
        edge, beyond = (high, high - 1) if np.isinf(low) else (low, low + 1)
        assert low_quality(rows({column: edge}, {column: beyond})).to_pylist() == [None, reason]


def test_reasons_are_joined_in_one_order():
    poor = {"jpeg_quality": 5, "brightness": 10.0, "sharpness": 2.0, "eye_distance": 4.0}
    assert low_quality(rows(poor)).to_pylist() == ["small,blurred,dark,compressed"]


def test_what_is_not_known_is_not_held_against_a_crop():
    assert low_quality(rows({"eye_distance": None, "jpeg_quality": None})).to_pylist() == [None]


def test_nothing_is_said_of_erased_samples():
    assert low_quality(rows({"length": 0, "sharpness": 0.0})).to_pylist() == [None]


def test_copies_name_the_best_and_the_best_names_nobody(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    one, two, three = b"one", b"two", b"three"
    info = make_dataset(storage, "crawl", 6, unit_size=4, images=[one, two, one, three, two, one])
    _, duplicate_of = make_flags(storage, info)
    parts = [
        read_table(storage, layout.manifest_part("crawl", u), MANIFEST_SCHEMA, ["key", "source"])
        for u in range(info.units)
    ]
    table = pa.concat_tables(parts).to_pylist()
    item = {row["key"]: int(row["source"][-9:-4]) for row in table}
    got = {item[row["key"]]: d for row, d in zip(table, duplicate_of.to_pylist(), strict=True)}
    groups = ({0, 2, 5}, {1, 4})
    for group in groups:
        best = [i for i in group if got[i] is None]
        assert len(best) == 1
        assert all(item[got[i]] == best[0] for i in group if i != best[0])
    assert got[3] is None


def test_an_empty_dataset_has_no_flags(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    info = make_dataset(storage, "crawl", 0)
    assert [len(flags) for flags in make_flags(storage, info)] == [0, 0]


def test_a_dataset_with_a_missing_manifest_is_said(tmp_path):
    storage = open_store(tmp_path / "store", create=True)
    info = make_dataset(storage, "crawl", 2)
    storage.path(layout.manifest_part("crawl", 0)).unlink()
    with pytest.raises(StoreError, match=r"crawl: unit 0 of 1 is not done"):
        make_flags(storage, info)
