import subprocess
import sys
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.containers import hf_table, write_arrow, write_parquet, write_tar
from support.raw import draw_jpeg, write_files, write_pictures

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.errors import FusekitError, ItemError, SourceError
from fusekit.readers.item import Item
from fusekit.readers.registry import open_reader

IMAGES = [draw_jpeg(seed) for seed in range(5)]


def opened(raw, kind="labeled", **options):
    form = CardForm(reader="parquet", aligned=True, options=options)
    return open_reader(Card(name="tables", kind=kind, forms=(form,)), raw)


def listed(reader):
    items = list(reader.items())
    assert [item.offset for item in items] == list(range(len(items)))
    assert all(len(reader.read(item)) == item.size for item in items if item.reject is None)
    return items


def rows(table, column):
    return [getattr(item, column) for item in table]


@pytest.mark.parametrize("group", [1, 2, 5])
def test_rows_are_read_in_any_order_from_row_groups_of_any_size(tmp_path, group):
    write_parquet(tmp_path / "a.parquet", hf_table(IMAGES, label=[3, 3, 10, 3, 10]), group)
    write_parquet(tmp_path / "b.parquet", hf_table(IMAGES[:2], label=[3, 4]), group)
    reader = opened(tmp_path)
    items = listed(reader)
    assert rows(items, "source")[3:6] == ["a.parquet#3", "a.parquet#4", "b.parquet#0"]
    assert rows(items, "identity") == ["3", "3", "10", "3", "10", "3", "4"]
    assert reader.numeric_identities
    expected = IMAGES + IMAGES[:2]
    for at in (0, 4, 1, 6, 5, 3, 3, 0):
        assert reader.read(items[at]) == expected[at]
    assert opened(tmp_path).read(items[4]) == expected[4]


def test_class_labels_are_read_by_their_names(tmp_path):
    table = hf_table(IMAGES[:3], {"label": ["n01", "n02"]}, label=[1, 0, -1])
    reader = opened(write_parquet(tmp_path / "a.parquet", table))
    items = listed(reader)
    assert rows(items, "identity") == ["n02", "n01", None]
    assert items[2].reject == "unlisted"
    assert not reader.numeric_identities


def test_people_of_several_datasets_are_told_apart_by_their_labels(tmp_path):
    table = hf_table(
        IMAGES[:3], label=[0, 1, 1], dataset=["glint", "pins", "pins"], identity=["0", "0", "0"]
    )
    reader = opened(write_parquet(tmp_path / "a.parquet", table))
    assert rows(listed(reader), "identity") == ["0", "1", "1"]
    asked = opened(tmp_path / "a.parquet", identity="identity")
    assert rows(listed(asked), "identity") == ["0", "0", "0"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_reading_that_python_s_end_cuts_off_says_nothing(tmp_path, suffix):
    table = hf_table(IMAGES, label=[0, 1, 2, 3, 4])
    path = write_parquet(tmp_path / "a.parquet", table, 5)
    if suffix == "arrow":
        path = next(write_arrow(tmp_path / "saved", table).glob("*.arrow"))
    script = (
        "import sys; from pathlib import Path; from fusekit.formats.arrow_files import open_table\n"
        "blocks = open_table(Path(sys.argv[1])).blocks(['label']); next(blocks)\n"
        # As when the last reference stands in a module that Python takes down after pyarrow's.
        "sys.modules['fusekit.formats.arrow_files'].pa = None; del blocks"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_all_that_a_row_says_is_read(tmp_path):
    points = [float(n) for n in range(10)]
    table = hf_table(
        IMAGES[:1], identity=["é"], name=["Émile"], split=["testing"], url=["http://a/b"],
        bbox=[[1, 2, 3, 4]], landmarks=[points],
    )  # fmt: skip
    reader = opened(write_parquet(tmp_path / "a.parquet", table))
    assert listed(reader) == [
        Item("a.parquet#0", len(IMAGES[0]), "é", "test", 0, (1.0, 2.0, 3.0, 4.0), tuple(points),
             url="http://a/b")
    ]  # fmt: skip
    assert reader.names() == {"é": "Émile"}


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_a_plain_column_of_bytes_is_one_of_pictures(tmp_path, kind):
    table = pa.table({"photo": pa.array(IMAGES[:2], kind), "person": ["a", "b"]})
    reader = opened(write_parquet(tmp_path / "a.parquet", table))
    assert [reader.read(item) for item in listed(reader)] == IMAGES[:2]


def test_options_name_the_columns(tmp_path):
    table = pa.table({"x": [b"1", b"2"], "y": [b"3", b"4"], "who": ["a", "b"], "label": [1, 2]})
    reader = opened(write_parquet(tmp_path / "a.parquet", table), image="y", identity="who")
    assert [(i.identity, reader.read(i)) for i in listed(reader)] == [("a", b"3"), ("b", b"4")]
    with pytest.raises(SourceError, match="no column holds pictures, of 'x', 'y', 'who', 'label'"):
        listed(opened(tmp_path / "a.parquet"))
    with pytest.raises(SourceError, match="has no column 'z'; expected 'x', 'y'"):
        listed(opened(tmp_path / "a.parquet", image="z"))


def test_paths_name_files_beside_the_table_and_none_outside(tmp_path):
    write_pictures(tmp_path / "raw", "set/a.jpg", "b.jpg")
    write_files(tmp_path, {"c.jpg": b"secret"})
    paths = ["a.jpg", "b.jpg", "../../c.jpg", "d.jpg", "e\0.jpg"]
    table = pa.table({"file_name": paths, "label": [1] * 5})
    write_parquet(tmp_path / "raw/set/list.parquet", table)
    items = listed(opened(tmp_path / "raw"))
    assert rows(items, "reject") == [None, None, "missing", "missing", "missing"]
    assert items[3].reject_detail == "no file 'd.jpg'"


def test_rows_without_a_picture_say_why(tmp_path):
    table = pa.table({
        "key": ["0", "1", "2"], "jpg": pa.array([b"x", None, None], pa.binary()),
        "url": ["u0", "u1", "u2"], "status": ["success", "failed_to_download", None],
        "error_message": [None, "HTTP Error\n404", None],
    })  # fmt: skip
    items = listed(opened(write_parquet(tmp_path / "00000.parquet", table), "unlabeled"))
    assert [(i.reject, i.reject_detail, i.url) for i in items] == [
        (None, None, "u0"),
        ("not_downloaded", "failed_to_download: HTTP Error 404", "u1"),
        ("missing", "its row holds no picture", "u2"),
    ]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("data/gallery-00000-of-00001.parquet", "gallery"),
        ("default/validation/0000.parquet", "val"),
        ("data-00000-of-00001.parquet", None),
    ],
)
def test_a_split_is_in_the_file_s_name_or_its_folder_s(tmp_path, path, split):
    write_parquet(tmp_path / path, hf_table(IMAGES[:1], label=[1]))
    assert rows(listed(opened(tmp_path)), "split") == [split]


def test_a_saved_dataset_of_hugging_face_is_read(tmp_path):
    table = hf_table(IMAGES, {"label": ["a", "b"]}, label=[0, 0, 1, 1, 1])
    write_files(write_arrow(tmp_path / "train", table), {"cache-123.arrow": b"indices"})
    reader = opened(tmp_path)
    items = listed(reader)
    assert {(i.split, i.identity) for i in items} == {("train", "a"), ("train", "b")}
    assert [reader.read(item) for item in reversed(items)] == IMAGES[::-1]
    assert reader.ignored() == {"files of another kind": 1, "lists and metadata (by suffix)": 2}


def test_rows_of_is_same_are_pairs_of_an_evaluation_set(tmp_path):
    same = [True, True, False, False] * 10
    table = hf_table([b"x"] * 40, index=list(range(40)), is_same=same)
    reader = opened(write_arrow(tmp_path / "lfw", table), "evaluation")
    assert rows(listed(reader), "identity") == [None] * 40
    pairs = pa.Table.from_batches(reader.tables()["pairs"]).to_pylist()
    name = "data-00000-of-00001.arrow"
    assert len(pairs) == 20
    assert pairs[1] == {
        "protocol": "verification", "main": True, "fold": 1, "same": False,
        "source_a": f"{name}#2", "source_b": f"{name}#3",
    }  # fmt: skip
    assert [pair["fold"] for pair in pairs] == [n // 2 + 1 for n in range(20)]
    assert opened(tmp_path / "lfw", "unlabeled").tables() == {}


def test_an_odd_number_of_rows_makes_no_pairs(tmp_path):
    table = hf_table([b"x"] * 3, is_same=[True] * 3)
    reader = opened(write_arrow(tmp_path, table), "evaluation")
    listed(reader)
    with pytest.raises(SourceError, match="3 rows with is_same; expected two rows a pair"):
        reader.tables()


def test_rows_of_a_pair_that_disagree_are_counted(tmp_path):
    reader = opened(
        write_arrow(tmp_path, hf_table([b"x"] * 2, is_same=[True, False])), "evaluation"
    )
    listed(reader)
    assert next(reader.tables()["pairs"])["same"].to_pylist() == [True]
    assert "second rows of pairs that say something else than the first" in reader.ignored()


def test_labeled_rows_that_name_nobody_are_an_error(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", hf_table(IMAGES[:1]))
    with pytest.raises(SourceError, match="nothing says whom the pictures show; expected a column"):
        listed(opened(path))


def test_a_file_that_is_no_parquet_is_an_error(tmp_path):
    write_files(tmp_path, {"a.parquet": b"no table at all"})
    with pytest.raises(SourceError, match=r"a.parquet: can't be read \(.*\); expected a Parquet"):
        listed(opened(tmp_path))
    write_files(tmp_path, {"a.parquet": b"", "b.arrow": b"nothing"})
    with pytest.raises(SourceError, match="expected a Parquet file"):
        listed(opened(tmp_path))
    with pytest.raises(SourceError, match="expected an Arrow stream"):
        listed(opened(tmp_path / "b.arrow"))


def test_a_column_whose_name_is_no_text_is_an_error(tmp_path):
    path = write_arrow(tmp_path, hf_table(IMAGES[:1], label=[1])) / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes().replace(b"label", b"la\xffel"))
    with pytest.raises(SourceError, match=r"can't be read \(.*utf-8.*; expected an Arrow stream"):
        listed(opened(tmp_path))


def test_a_row_that_is_gone_is_a_reject_and_a_file_that_is_gone_an_error(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", hf_table(IMAGES, label=[1] * 5))
    reader = opened(tmp_path)
    item = listed(reader)[4]
    write_parquet(path, hf_table(IMAGES[:2], label=[1] * 2))
    with pytest.raises(ItemError, match="its table has not so many rows"):
        opened(tmp_path).read(item)
    path.unlink()
    with pytest.raises(SourceError, match="is not there any more"):
        opened(tmp_path).read(item)


def test_tables_are_told_from_pictures_and_from_lists(tmp_path):
    card = load_card("unlabeled")
    write_parquet(tmp_path / "t/a.parquet", hf_table(IMAGES[:1]))
    assert open_reader(card, tmp_path / "t").form == "parquet"
    write_parquet(tmp_path / "p/list.parquet", pa.table({"score": [1.0]}))
    write_pictures(tmp_path / "p", "a.jpg")
    assert open_reader(card, tmp_path / "p").form == "unlabeled"
    write_tar(tmp_path / "t/a-000000.tar", [("1.jpg", b"x")])
    assert open_reader(card, tmp_path / "t").form == "webdataset"


@given(st.sampled_from(["a.parquet", "data-00000-of-00001.arrow"]), st.data())
def test_damaged_tables_give_our_errors_only(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("tables")
    table = hf_table([b"jpeg" * 20] * 5, label=[1, 2, 1, 2, 1])
    if name == "a.parquet":
        pq.write_table(table, folder / name, row_group_size=3)
    else:
        write_arrow(folder, table)
    damaged = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(damaged[: data.draw(st.integers(len(damaged) // 2, len(damaged)))])
    reader = opened(folder)
    with suppress(FusekitError):
        for item in reader.items():
            if item.reject is None:
                reader.read(item)
