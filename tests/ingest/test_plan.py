from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import FingerprintError, SourceError, StoreError
from fusekit.ingest.plan import fix_plan, list_items, unit_items
from fusekit.readers.item import Item
from fusekit.rng import derive
from fusekit.schema import IDENTITIES_SCHEMA, PLAN_SCHEMA
from fusekit.store import layout
from fusekit.store.layout import open_store
from fusekit.store.tables import read_table


class FakeReader:
    form = "folders"
    numeric_identities = False

    def __init__(self, items, numeric=False):
        self._items, self.numeric_identities = items, numeric

    def items(self):
        return iter(self._items)


def people(*names):
    return [Item(f"{n}/{i}.jpg", 10 + i, n) for n in names for i in range(3)]


def planned(storage, spool, items, settings=None, numeric=False, names=None):
    listing = list_items(FakeReader(items, numeric), spool, "raw")
    inputs = {
        "dataset": "pins",
        "settings": {"order": "random"} | (settings or {"unit_size": 4, "seed": 0}),
    }
    return fix_plan(storage, "pins", inputs, listing, names or {})


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


@given(st.integers(1, 2000), st.integers(1, 300), st.integers(0, 9))
def test_units_are_a_partition_of_the_items(items, unit_size, seed):
    key = derive(seed, "units")
    units = [unit_items(items, u, unit_size, key) for u in range(-(-items // unit_size))]
    assert sorted(i for unit in units for i in unit.tolist()) == list(range(items))
    assert {len(unit) for unit in units[:-1]} <= {unit_size}
    assert all((unit[1:] > unit[:-1]).all() for unit in units), "file order inside a unit"


def test_who_is_in_lists_only_has_no_number_but_keeps_the_name(storage, tmp_path):
    items = [
        Item("b/1.jpg", 1, "b"), Item("a/1.jpg", 0, "a", reject="missing", reject_detail="gone"),
        Item("b/2.jpg", 0, "b", reject="missing", reject_detail="gone"), Item("c/1.jpg", 1, "c"),
    ]  # fmt: skip
    plan = planned(storage, tmp_path / "spool", items)
    rows = read_table(storage, layout.plan_part("pins", 0), PLAN_SCHEMA).to_pylist()
    found = [(row["identity"], row["identity_index"], row["reject"]) for row in rows]
    assert found == [("b", 0, None), ("a", -1, "missing"), ("b", 0, "missing"), ("c", 1, None)]
    assert plan.identities == 2
    people = read_table(storage, layout.identities("pins"), IDENTITIES_SCHEMA)
    assert people["identity"].to_pylist() == ["b", "c"]


def test_units_of_data_read_front_to_back_are_runs_by_offset(storage, tmp_path):
    items = [
        Item(f"{n}.jpg", 1, "a", offset=offset) for n, offset in enumerate([50, 20, 40, 10, 30])
    ]
    settings = {"unit_size": 2, "seed": 0, "order": "source"}
    planned(storage, tmp_path / "spool", items, settings)
    offsets = [
        read_table(storage, layout.plan_part("pins", unit), PLAN_SCHEMA)["offset"].to_pylist()
        for unit in range(3)
    ]
    assert offsets == [[10, 20], [30, 40], [50]]


def test_a_shard_is_a_random_sample_of_its_dataset():
    units = [unit_items(80_000, u, 8192, derive(0, "units")) for u in range(10)]
    # A quarter of the items lies in each quarter of the listing, in every full unit.
    shares = [((unit // 20_000) == q).mean() for unit in units[:9] for q in range(4)]
    assert 0.23 < min(shares) <= max(shares) < 0.27


def test_the_plan_holds_every_item_once_with_its_identity(storage, tmp_path):
    items = people("b", "Zoë", "a")
    plan = planned(storage, tmp_path / "spool", items, names={"a": "Ann A."})
    rows = [
        row
        for u in range(plan.units)
        for row in read_table(storage, layout.plan_part("pins", u), PLAN_SCHEMA).to_pylist()
    ]
    by_source = {row["source"]: row for row in rows}
    assert len(rows) == len(by_source) == plan.items == 9
    assert {s: (r["identity"], r["identity_index"]) for s, r in by_source.items()} == {
        i.source: (i.identity, {"Zoë": 0, "a": 1, "b": 2}[i.identity]) for i in items
    }
    table = read_table(storage, layout.identities("pins"), IDENTITIES_SCHEMA).to_pylist()
    assert [(r["identity"], r["name"]) for r in table] == [
        ("Zoë", None), ("a", "Ann A."), ("b", None),
    ]  # fmt: skip


def test_record_labels_are_numbered_by_value_and_text_by_its_bytes(storage, tmp_path):
    items = [Item(f"r#{n}", 1, n) for n in ("10", "9", "100")]
    planned(storage, tmp_path / "spool", items, numeric=True)
    table = read_table(storage, layout.identities("pins"), IDENTITIES_SCHEMA)
    assert table["identity"].to_pylist() == ["9", "10", "100"]


def test_identities_are_stored_in_one_unicode_form(storage, tmp_path):
    planned(storage, tmp_path / "spool", [Item("a.jpg", 1, "Zoe\u0308")])
    table = read_table(storage, layout.identities("pins"), IDENTITIES_SCHEMA)
    assert table["identity"].to_pylist() == ["Zo\u00eb"]


def test_unlabeled_items_have_no_identity_and_index_minus_1(storage, tmp_path):
    plan = planned(storage, tmp_path / "spool", [Item("a.jpg", 1, None), Item("b.jpg", 1, None)])
    rows = read_table(storage, layout.plan_part("pins", 0), PLAN_SCHEMA)
    assert rows["identity"].to_pylist() == [None, None]
    assert rows["identity_index"].to_pylist() == [-1, -1]
    assert plan.identities == 0


def test_planning_again_changes_nothing_and_mends_what_is_missing(storage, tmp_path):
    first = planned(storage, tmp_path / "spool", people("a", "b"))
    part = storage.path(layout.plan_part("pins", 1))
    before = part.read_bytes()
    part.unlink()
    assert planned(storage, tmp_path / "spool", people("a", "b")) == first
    assert part.read_bytes() == before


@pytest.mark.parametrize("name", [layout.plan_part("pins", 1), layout.identities("pins")])
def test_a_table_of_the_plan_that_is_cut_off_is_written_again(storage, tmp_path, name):
    planned(storage, tmp_path / "spool", people("a", "b"))
    whole = storage.read(name)
    storage.write(name, whole[:100])
    planned(storage, tmp_path / "spool", people("a", "b"))
    assert storage.read(name) == whole


@pytest.mark.parametrize(
    ("items", "settings", "difference"),
    [
        (people("a", "c"), None, "items.sha256: .*, was"),
        (people("a"), None, "items.count: 3, was 6"),
        (people("a", "b"), {"unit_size": 5, "seed": 0}, "settings.unit_size: 5, was 4"),
        (people("a", "b"), {"unit_size": 4, "seed": 1}, "settings.seed: 1, was 0"),
    ],
)
def test_other_inputs_or_settings_are_refused_by_their_first_difference(
    storage, tmp_path, items, settings, difference
):
    planned(storage, tmp_path / "spool", people("a", "b"))
    message = rf"pins: was begun with other .*{difference}.*another name with --as"
    with pytest.raises(FingerprintError, match=message):
        planned(storage, tmp_path / "spool", items, settings)


@pytest.mark.parametrize(
    "changed",
    [
        {"identity": "c"}, {"split": "train"}, {"bbox": (0.0, 0.0, 1.0, 1.0)},
        {"landmarks": (1.0,) * 10}, {"offset": 7},
    ],
)  # fmt: skip
def test_the_same_files_under_other_labels_or_hints_are_refused(storage, tmp_path, changed):
    items = people("a", "b")
    planned(storage, tmp_path / "spool", items)
    with pytest.raises(FingerprintError, match=r"items\.sha256"):
        planned(storage, tmp_path / "spool", [replace(items[0], **changed), *items[1:]])


def test_a_damaged_plan_is_one_line(storage, tmp_path):
    storage.write(layout.plan_json("pins"), b"[")
    with pytest.raises(StoreError, match=r"plan\.json: is damaged; ingest under another name"):
        planned(storage, tmp_path / "spool", people("a"))


def test_raw_data_without_pictures_is_one_line(tmp_path):
    with pytest.raises(SourceError, match="raw: no pictures were found"):
        list_items(FakeReader([]), tmp_path / "spool", "raw")


def test_listing_reports_and_spools_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("fusekit.ingest.plan._BATCH", 4)
    seen = []
    items = people("a", "b", "c")
    listing = list_items(FakeReader(items), tmp_path / "spool", "raw", seen.append)
    assert [p.done for p in seen] == [4, 8, 9]
    with pa.memory_map(str(listing.spool)) as file:
        assert pa.ipc.open_file(file).read_all()["source"].to_pylist() == [i.source for i in items]
