import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import make_dataset, pairs_table

from fusekit.errors import SourceError, StorageError, StoreError
from fusekit.schema import PAIRS_SCHEMA, PLAN_PAIRS_SCHEMA, TEMPLATE_PAIRS_SCHEMA
from fusekit.store import layout
from fusekit.store.layout import open_store
from fusekit.store.protocol import (
    first_keys,
    keep_protocol,
    protocol_digests,
    resolve_protocol,
    spool_protocol,
)
from fusekit.store.row_digest import RowDigest
from fusekit.store.sql import query
from fusekit.store.tables import write_table

ANN, BOB, CID, GONE = "ann/00000.jpg", "bob/00001.jpg", "cid/00002.jpg", "dora/00009.jpg"
PEOPLE = {"ann": 1, "bob": 1, "cid": 1}
PAIRS = [(ANN, BOB, False), (BOB, BOB, True), (GONE, CID, False), (CID, ANN, False)]


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def key(source):
    return layout.sample_key(source, 0)


def evaluation(storage, pairs=PAIRS, folds=2, name="lfw"):
    tables = {"pairs": pairs_table(pairs, folds)}
    return make_dataset(storage, name, PEOPLE, kind="evaluation", protocol=tables)


def test_the_rows_of_every_table_are_in_dataset_json(storage):
    assert evaluation(storage).protocol == {"pairs": 4}
    assert make_dataset(storage, "vgg", PEOPLE).protocol == {}


def test_pairs_get_the_keys_of_their_samples_and_null_where_an_item_gave_none(storage):
    evaluation(storage)
    rows = pq.read_table(storage.path("datasets/lfw/pairs.parquet"))
    assert rows.schema == PAIRS_SCHEMA
    assert rows.select(["fold", "key_a", "key_b", "same", "source_a"]).to_pylist() == [
        {"fold": 1 + i // 2, "key_a": None if a == GONE else key(a), "key_b": key(b),
         "same": same, "source_a": a}
        for i, (a, b, same) in enumerate(PAIRS)
    ]  # fmt: skip


def test_of_a_source_with_several_samples_the_first_face_counts(storage):
    rows = pa.table({"source": ["b", "a", "a", "a"], "key": ["kb_00", "k_10", "k_01", "k_02"]})
    pq.write_table(rows, storage.path("m.parquet"))
    schema = {"source": pa.string(), "key": pa.string()}
    manifest = pq.read_table(storage.path("m.parquet")).cast(pa.schema(schema))
    assert manifest.num_rows == 4
    found = first_keys(storage, ["m.parquet"]).sort_by("source").to_pylist()
    assert found == [{"source": "a", "key": "k_01"}, {"source": "b", "key": "kb_00"}]


def test_the_view_pairs_shows_the_main_protocol_in_its_own_order(storage):
    main, dev = pairs_table(PAIRS, 2), pairs_table([(ANN, ANN, True)], protocol="dev")
    both = pa.concat_tables([dev, main])
    make_dataset(storage, "lfw", PEOPLE, kind="evaluation", protocol={"pairs": both})
    rows = query("SELECT * FROM pairs", storage.root)
    assert rows.column_names == ["dataset", "fold", "key_a", "key_b", "same"]
    assert rows["fold"].to_pylist() == [1, 1, 2, 2]
    assert rows["same"].to_pylist() == [same for _, _, same in PAIRS]
    assert query("SELECT * FROM protocol_pairs WHERE protocol = 'dev'", storage.root).num_rows == 1


def test_a_hundred_thousands_of_pairs_stay_in_order_in_sql(storage):
    many = [((ANN, BOB, CID)[i % 3], BOB, i % 7 == 0) for i in range(300_000)]
    evaluation(storage, many, folds=30_000)
    rows = query("SELECT fold, same FROM pairs", storage.root)
    assert rows["fold"].to_pylist() == [i // 10 + 1 for i in range(300_000)]
    assert rows["same"].to_pylist() == [same for _, _, same in many]


def test_the_temporary_files_are_gone_after_success_and_after_an_error(storage):
    batches = pairs_table(PAIRS).to_batches()

    def cut_off():
        yield from batches
        raise SourceError("pairs.txt", "is cut off")

    folder = storage.path("datasets/lfw")
    with spool_protocol(storage, "lfw", {"pairs": iter(batches)}):
        assert [p.name[:5] for p in folder.iterdir()] == [".tmp-"]
    assert list(folder.iterdir()) == []  # and nothing else was
    tables = {"pairs": cut_off()}
    with pytest.raises(SourceError, match="is cut off"), spool_protocol(storage, "lfw", tables):
        raise AssertionError
    assert list(folder.iterdir()) == []


def test_what_a_killed_run_left_is_swept_away(storage):
    spool = spool_protocol(storage, "lfw", {"pairs": iter(pairs_table(PAIRS).to_batches())})
    with spool:
        assert storage.sweep("datasets/lfw") == 1


def test_a_table_that_stands_stays_and_a_damaged_one_is_written_again(storage):
    evaluation(storage)
    plan = storage.path("datasets/lfw/plan/pairs.parquet")
    inode = plan.stat().st_ino

    def keep():
        batches = iter(pairs_table(PAIRS, 2).to_batches())
        with spool_protocol(storage, "lfw", {"pairs": batches}) as spool:
            keep_protocol(storage, "lfw", spool)

    keep()
    assert plan.stat().st_ino == inode
    whole = plan.read_bytes()
    plan.write_bytes(whole[:-20])
    assert protocol_digests(storage, "lfw") == {"pairs": None}
    keep()
    assert plan.read_bytes() == whole


def test_the_same_tables_give_the_same_bytes(storage, tmp_path):
    other = open_store(tmp_path / "other", create=True)
    for each in (storage, other):
        evaluation(each)
    for name in ("plan/pairs.parquet", "pairs.parquet", "SHA256SUMS"):
        first, second = (s.path(f"datasets/lfw/{name}").read_bytes() for s in (storage, other))
        assert first == second, name


def test_a_dataset_without_samples_has_null_keys(storage):
    rows = pairs_table(PAIRS)
    write_table(storage, layout.protocol_plan("lfw", "pairs"), rows, PLAN_PAIRS_SCHEMA)
    assert resolve_protocol(storage, "lfw", []) == {"pairs": 4}
    table = pq.read_table(storage.path("datasets/lfw/pairs.parquet"))
    assert table["key_a"].null_count == table["key_b"].null_count == 4


def test_a_table_without_rows_is_a_table(storage):
    empty = TEMPLATE_PAIRS_SCHEMA.empty_table()
    info = make_dataset(
        storage, "ijb", PEOPLE, kind="evaluation", protocol={"template_pairs": empty}
    )
    assert info.protocol == {"template_pairs": 0}
    assert query("SELECT * FROM template_pairs", storage.root).num_rows == 0


def test_rows_of_another_kind_are_refused(storage):
    def spool(**tables):
        batches = {name: iter(rows.to_batches()) for name, rows in tables.items()}
        with spool_protocol(storage, "lfw", batches):
            pass

    with pytest.raises(StoreError, match=r"'folds' is no table of a protocol; expected pairs, "):
        spool(folds=pairs_table(PAIRS))
    with pytest.raises(StoreError, match=r"lfw: pairs: rows of another kind .* expected protocol"):
        spool(pairs=pairs_table(PAIRS).drop_columns("same"))
    nulls = pairs_table(PAIRS).set_column(5, "source_b", pa.nulls(4, pa.string()))
    with pytest.raises(StoreError, match=r"rows of another kind .*'source_b' with null"):
        spool(pairs=nulls)


def test_a_missing_plan_table_is_an_error_of_its_own(storage):
    write_table(
        storage, layout.protocol_plan("lfw", "pairs"), pairs_table(PAIRS), PLAN_PAIRS_SCHEMA
    )
    path = storage.path("datasets/lfw/plan/pairs.parquet")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StorageError, match=r"plan/pairs.parquet: is no table of this release"):
        resolve_protocol(storage, "lfw", [])


MIXED = pa.schema([
    pa.field("text", pa.string()), pa.field("flag", pa.bool_()), pa.field("number", pa.int64()),
    pa.field("score", pa.float32()),
])  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries({
        "text": st.none() | st.text(max_size=3), "flag": st.none() | st.booleans(),
        "number": st.none() | st.integers(-2, 2), "score": st.sampled_from([None, 0.0, 1.5]),
    }),
    max_size=8,
)  # fmt: skip


def digest(rows, cuts=()):
    table, found = pa.Table.from_pylist(rows, schema=MIXED).combine_chunks(), RowDigest(MIXED)
    edges = sorted({0, *(min(c, len(rows)) for c in cuts), len(rows)})
    for start, end in itertools.pairwise(edges):
        for batch in table.slice(start, end - start).to_batches():
            found.add(batch)
    return found.hexdigest()


@given(ROWS, st.lists(st.integers(0, 8)))
def test_a_digest_does_not_depend_on_batches(rows, cuts):
    assert digest(rows) == digest(rows, cuts)


@given(ROWS, ROWS)
def test_other_rows_have_another_digest(one, other):
    assert (digest(one) == digest(other)) == (one == other)
