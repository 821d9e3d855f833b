import json

import pyarrow as pa
import pytest
from support.stores import make_dataset

from fusekit.errors import FindingError
from fusekit.fingerprint import fingerprint
from fusekit.schema import ACTIVATIONS_SCHEMA, OVERLAP_SCHEMA
from fusekit.store.datasets import open_dataset
from fusekit.store.findings import find_fresh, list_findings, read_finding_table, write_finding
from fusekit.store.layout import open_store

ROW = {
    "key": "k", "activation": 0.5, "cosine": 0.25, "nearest_dataset": "vgg",
    "nearest_identity": "ann",
}  # fmt: skip


@pytest.fixture
def storage(tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 2})
    make_dataset(storage, "crawl", 3)
    return storage


def about(storage, **more):
    names = ("crawl", "vgg")
    inputs = {n: open_dataset(storage, n).fingerprint for n in names}
    return {"dataset": "crawl", "inputs": inputs, "threshold": 0.9} | more


def test_a_finding_reads_back_as_it_was_written(storage):
    what = about(storage)
    made = write_finding(storage, "activation", what, [ROW], ACTIVATIONS_SCHEMA)
    assert made.fingerprint == fingerprint(what)
    assert list_findings(storage) == list_findings(storage, "activation") == [made]
    assert list_findings(storage, "overlap") == []
    table = read_finding_table(storage, made)
    assert table.schema == ACTIVATIONS_SCHEMA
    assert table.to_pylist() == [ROW | {"low_quality": None, "duplicate_of": None}]
    assert read_finding_table(storage, made, ["key"]).column_names == ["key"]


def test_the_same_work_gives_the_same_finding_and_bytes(storage):
    folders = []
    for _ in range(2):
        made = write_finding(storage, "activation", about(storage), [ROW], ACTIVATIONS_SCHEMA)
        folder = storage.path(f"findings/activation/{made.fingerprint}")
        folders.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert folders[0] == folders[1]


def test_a_table_without_its_finding_json_is_no_finding(storage):
    made = write_finding(storage, "activation", about(storage), [ROW], ACTIVATIONS_SCHEMA)
    storage.remove(f"findings/activation/{made.fingerprint}/finding.json")
    assert list_findings(storage) == []


def test_the_one_fresh_finding_is_found(storage):
    write_finding(storage, "activation", about(storage, dataset="vgg"), [], ACTIVATIONS_SCHEMA)
    made = write_finding(storage, "activation", about(storage), [ROW], ACTIVATIONS_SCHEMA)
    assert find_fresh(storage, "activation", datasets=["crawl"]) == made


def test_no_finding_is_an_error_that_says_how_to_make_one(storage):
    with pytest.raises(FindingError) as error:
        find_fresh(storage, "activation", datasets=["crawl"])
    assert str(error.value) == (
        "crawl: no activation finding; fusekit filter crawl --against DATASET"
    )


def test_several_findings_are_an_error_that_names_them_all(storage):
    made = [
        write_finding(storage, "activation", about(storage, threshold=t), [], ACTIVATIONS_SCHEMA)
        for t in (0.8, 0.9)
    ]
    with pytest.raises(FindingError, match="2 activation findings") as error:
        find_fresh(storage, "activation", datasets=["crawl"])
    assert all(finding.fingerprint[:12] in str(error.value) for finding in made)
    assert "finding: PREFIX" in str(error.value)


def test_a_prefix_chooses_among_several_findings(storage):
    made = [
        write_finding(storage, "activation", about(storage, threshold=t), [], ACTIVATIONS_SCHEMA)
        for t in (0.8, 0.9)
    ]
    for finding in made:
        prefix = finding.fingerprint[:12]
        assert find_fresh(storage, "activation", datasets=["crawl"], prefix=prefix) == finding
    with pytest.raises(FindingError, match=r"no activation finding 0000…; expected one of \w+, "):
        find_fresh(storage, "activation", datasets=["crawl"], prefix="0000")


def test_a_finding_whose_input_changed_is_stale(storage):
    what = about(storage)
    what["inputs"]["vgg"] = "0" * 64
    write_finding(storage, "activation", what, [], ACTIVATIONS_SCHEMA)
    with pytest.raises(FindingError, match=r"is stale: vgg has fingerprint \w+, it was 000000"):
        find_fresh(storage, "activation", datasets=["crawl"])


def test_a_finding_whose_input_is_gone_is_stale(storage):
    what = about(storage)
    what["inputs"]["gone"] = "0" * 64
    write_finding(storage, "activation", what, [], ACTIVATIONS_SCHEMA)
    with pytest.raises(FindingError, match="is stale: gone is no longer in the store"):
        find_fresh(storage, "activation", datasets=["crawl"])


def test_a_stale_finding_does_not_stand_beside_a_fresh_one(storage):
    old = about(storage)
    old["inputs"]["vgg"] = "0" * 64
    write_finding(storage, "activation", old, [], ACTIVATIONS_SCHEMA)
    made = write_finding(storage, "activation", about(storage), [], ACTIVATIONS_SCHEMA)
    assert find_fresh(storage, "activation", datasets=["crawl"]) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text["about"].update(threshold=0.1), "finding.json: is damaged"),
        (lambda text: text.pop("about"), "finding.json: is damaged"),
        (lambda text: text.update(format_version=99), "has format 99; expected at most 2"),
    ],
)
def test_a_finding_that_was_changed_is_refused(storage, change, message):
    made = write_finding(storage, "activation", about(storage), [], ACTIVATIONS_SCHEMA)
    name = f"findings/activation/{made.fingerprint}/finding.json"
    text = json.loads(storage.read(name))
    change(text)
    storage.write(name, json.dumps(text).encode())
    with pytest.raises(FindingError, match=message):
        list_findings(storage)


def test_a_missing_table_is_named(storage):
    made = write_finding(storage, "activation", about(storage), [ROW], ACTIVATIONS_SCHEMA)
    storage.remove(f"findings/activation/{made.fingerprint}/table.parquet")
    with pytest.raises(FindingError, match=r"table.parquet: is missing or damaged; fusekit filter"):
        read_finding_table(storage, made)


def test_a_table_of_another_kind_is_read_by_its_own_schema(storage):
    schema = pa.schema([pa.field("a", pa.int8(), nullable=False)])
    made = write_finding(storage, "overlap", about(storage), [{"a": 1}], schema)
    assert read_finding_table(storage, made).to_pylist() == [{"a": 1}]
    with pytest.raises(FindingError, match="no duplicates finding; fusekit dedup crawl"):
        find_fresh(storage, "duplicates", datasets=["crawl"])


def test_a_finding_of_several_datasets_speaks_of_each_and_of_all(storage):
    inputs = {n: open_dataset(storage, n).fingerprint for n in ("crawl", "vgg")}
    made = write_finding(
        storage, "overlap", {"datasets": ["crawl", "vgg"], "inputs": inputs}, [], OVERLAP_SCHEMA
    )
    assert made.datasets == ("crawl", "vgg")
    for asked in (["vgg"], ["vgg", "crawl"]):
        assert find_fresh(storage, "overlap", datasets=asked) == made
    with pytest.raises(FindingError, match="vgg, ms1m: no overlap finding; fusekit overlap vgg"):
        find_fresh(storage, "overlap", datasets=["vgg", "ms1m"])


def test_a_reviewed_finding_takes_the_place_of_the_first_one(storage):
    first = write_finding(storage, "activation", about(storage), [ROW], ACTIVATIONS_SCHEMA)
    review = {"by": "ann", "at": "2026-01-02T03:04:05Z"}
    second = write_finding(
        storage, "activation", about(storage, supersedes=first.fingerprint), [ROW],
        ACTIVATIONS_SCHEMA, review,
    )  # fmt: skip
    found = find_fresh(storage, "activation", datasets=["crawl"])
    assert (found, found.review) == (second, review)
    assert (
        find_fresh(storage, "activation", datasets=["crawl"], prefix=first.fingerprint[:8]) == first
    )
