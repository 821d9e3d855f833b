"""What verify finds in findings: columns, samples, identities."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.recipes import (
    change_fingerprint,
    contaminated,
    give_activations,
    give_finding,
    same_person,
)
from support.stores import make_dataset

from fusekit.fingerprint import file_sha256
from fusekit.report.verify import verify_store
from fusekit.store.findings import (
    SCHEMAS,
    finding_json,
    list_findings,
    read_finding_table,
    write_finding,
)
from fusekit.store.layout import finding, open_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    storage = open_store(tmp_path_factory.mktemp("check") / "s", create=True)
    make_dataset(storage, "vgg", {"ann": 5, "bob": 2}, unit_size=3)
    make_dataset(storage, "rec", {"0": 4, "1": 1}, seed=1)
    make_dataset(storage, "crawl", 6, seed=2)
    make_dataset(storage, "lfw", {"a": 1}, kind="evaluation")
    give(storage)
    return storage.root


@pytest.fixture
def storage(made, tmp_path):
    return open_store(shutil.copytree(made, tmp_path / "s"))


def keys_of(storage, name):
    return pq.read_table(storage.path(f"datasets/{name}/samples-000000.parquet"))["key"].to_pylist()


def give(storage):
    key, other, *_ = keys_of(storage, "vgg")
    give_finding(
        storage, "overlap", ["vgg", "rec"], [same_person(storage, ("vgg", "ann"), ("rec", "0"), 0)]
    )
    row = contaminated(storage, "vgg", "bob", "lfw")
    give_finding(storage, "contamination", ["vgg"], [row], also=["lfw"])
    give_finding(
        storage, "label-noise", ["vgg"], [{"key": key, "identity": "ann", "identity_index": 0}]
    )
    give_finding(storage, "clusters", ["crawl"], [{"key": k} for k in keys_of(storage, "crawl")])
    give_finding(
        storage, "duplicates", ["vgg"],
        [{"group": 0, "dataset": "vgg", "key": each} for each in (key, other)],
    )  # fmt: skip
    give_activations(
        storage, "crawl", ["vgg"],
        [{"key": k, "activation": 0.5, "cosine": 0.1} for k in keys_of(storage, "crawl")],
    )  # fmt: skip


def rewrite(storage, kind, change):
    """Change a finding's table as a faulty release would have written it, digest and all."""
    (found,) = list_findings(storage, kind)
    folder = finding(kind, found.fingerprint)
    path = storage.path(f"{folder}/table.parquet")
    pq.write_table(change(pq.read_table(path)), path)
    storage.write(f"{folder}/finding.json", finding_json(found, file_sha256(path)))


def replaced(column, value):
    """Replace a column's first value."""

    def change(table):
        at = table.schema.get_field_index(column)
        values = [value, *table[column].to_pylist()[1:]]
        field = table.schema.field(at)
        return table.set_column(at, field, pa.array(values, field.type))

    return change


def problems(storage):
    return [problem.found for problem in verify_store(storage.root).problems]


def test_findings_of_every_kind_are_sound(storage):
    result = verify_store(storage.root)
    assert (result.problems, result.findings) == ((), 6)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("activation", lambda t: t.slice(1), "rows 5; expected 6"),
        ("clusters", lambda t: t.slice(1), "rows 5; expected 6"),
        ("clusters", replaced("key", "nobody"), "names 1 samples that crawl does not have"),
        ("activation", replaced("key", "nobody"), "names 1 samples that crawl does not have"),
        ("label-noise", replaced("key", "nobody"), "names 1 samples that vgg does not have"),
        ("duplicates", replaced("key", "nobody"), "names 1 samples that vgg does not have"),
        ("duplicates", lambda t: t.take([0, 1, 1]), "has 1 samples of vgg twice"),
        ("overlap", replaced("identity_b", "7"), "names 1 identities that rec does not have"),
        ("overlap", replaced("identity_index_a", 1), "names 1 identities that vgg does not have"),
        ("contamination", replaced("identity_index", 77), "names 1 identities that vgg does not"),
        ("overlap", lambda t: t.drop_columns(["votes"]), "lacks votes int32"),
        (
            "overlap", lambda t: t.append_column("odd", [["x"]]),
            "has other columns (odd string; lacks none)",
        ),
    ],
)  # fmt: skip
def test_a_finding_that_does_not_fit_its_datasets_is_named(storage, kind, change, message):
    rewrite(storage, kind, change)
    (found,) = problems(storage)
    assert message in found


def test_erased_rows_and_columns_that_came_later_are_no_faults(storage):
    rewrite(storage, "label-noise", replaced("key", ""))
    rewrite(storage, "overlap", replaced("identity_a", ""))
    rewrite(storage, "activation", lambda t: t.drop_columns(["low_quality", "duplicate_of"]))
    assert problems(storage) == []


def test_a_stale_finding_is_not_held_against_another_dataset(storage):
    rewrite(storage, "label-noise", replaced("key", "nobody"))
    change_fingerprint(storage, "vgg", "1" * 64)
    assert not [
        found for found in problems(storage) if "nobody" in found or "samples that" in found
    ]


def test_a_finding_of_no_known_kind_is_named(storage):
    (found,) = list_findings(storage, "overlap")
    source = storage.path(finding("overlap", found.fingerprint))
    target = storage.path(finding("overlay", found.fingerprint))
    target.parent.mkdir()
    source.rename(target)
    data = (target / "finding.json").read_text().replace('"overlap"', '"overlay"')
    (target / "finding.json").write_text(data)
    assert problems(storage) == ["is of no known kind: 'overlay'"]


def test_who_reviewed_a_finding_and_when_is_checked_too(storage):
    (made,) = list_findings(storage, "overlap")
    table = read_finding_table(storage, made)
    about = made.about | {"supersedes": made.fingerprint}
    review = {"by": "ann", "at": "2026-01-02T03:04:05+00:00"}
    new = write_finding(storage, "overlap", about, table, SCHEMAS["overlap"], review)
    assert problems(storage) == []
    where = storage.path(f"{finding('overlap', new.fingerprint)}/finding.json")
    whole = where.read_bytes()
    for was, now in ((b'"ann"', b'"bob"'), (b"03:04:05", b"03:04:06")):
        where.write_bytes(whole.replace(was, now))
        assert problems(storage) == ["is damaged"]
