import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.errors import SourceError
from fusekit.readers.tables.path_index import PathIndex, names_a_file, path_parts, plain_path


def index_of(*paths):
    rows = [(path, value) for value, path in enumerate(paths)]
    return PathIndex(lambda: iter(rows))


def find(index, *sources, identities=None):
    return index.find(sources, identities or [None] * len(sources)).tolist()


@pytest.mark.parametrize(
    ("row", "source"),
    [
        ("n000002/0001_01.jpg", "train/n000002/0001_01.jpg"),
        ("train/n000002/0001_01.jpg", "n000002/0001_01.jpg"),
        ("0000045\\001.jpg", "CASIA-WebFace/0000045/001.jpg"),
        ("./m.0107_f/10-FaceId-0.jpg", "m.0107_f/10-FaceId-0.jpg"),
        ("n000001/0001_01", "n000001/0001_01.PNG"),
        ("a/x.jpg", "a/x.webp"),
        ("Ana/é.jpg", "Ana/e\u0301.jpg"),
        ("train.rec#7", "train.rec#7"),
        ("C:\\data\\0000045\\001.jpg", "0000045/001.jpg"),
        ("1.jpg", "anna/1.jpg"),
    ],
)
def test_a_row_and_an_item_meet_where_one_path_is_the_end_of_the_other(row, source):
    index = index_of(row)
    assert find(index, source) == [0]
    assert list(index.missing()) == []


@pytest.mark.parametrize(
    ("row", "source"),
    [
        ("b/1.jpg", "ab/1.jpg"),
        ("a/1.jpg", "a/11.jpg"),
        ("a/1.jpg", "b/a/2.jpg"),
        ("x/a/1.jpg", "y/a/1.jpg"),
        ("m.0107_f", "x/m.0107_f/1.jpg"),
        ("A/1.jpg", "a/1.jpg"),
    ],
)
def test_parts_are_compared_whole_and_all_of_the_shorter_path_counts(row, source):
    assert find(index_of(row), source) == [-1]


@pytest.mark.parametrize(
    "name",
    ["10-FaceId-0", "10_FaceId-0", "10-0", "10-FaceId-0_align", "10_0", "10_0_align"],
)
def test_the_converters_names_of_ms_celeb_are_one(name):
    index = index_of("m.0107_f/10-FaceId-0.jpg")
    assert find(index, f"msra/m.0107_f/{name}.jpg", f"FaceImage.tsv#9/m.0107_f/{name}") == [0, 0]
    assert find(index, f"m.02x/{name}.jpg", "m.0107_f/10-FaceId-1.jpg") == [-1, -1]


def test_names_of_other_sets_keep_their_spelling():
    assert find(index_of("n000002/0001_01.jpg"), "n000002/0001-01.jpg") == [-1]
    assert path_parts("m.0107_f/000012_00@en.jpg") == ["m.0107_f", "000012_00@en"]


def test_an_identity_s_row_names_all_its_items():
    index = index_of("0000045", "0000099", "m.0é".replace("é", "e\u0301"))
    assert find(
        index, "a/0000045.jpg", "a/2.jpg", "a/3.jpg", identities=["x", "0000045", "m.0é"]
    ) == [-1, 0, 2]
    assert (index.missing_identities(), list(index.missing())) == (1, [])
    assert not names_a_file("m.0107_f")
    assert names_a_file("0000045/1")


def test_the_row_that_agrees_in_most_parts_counts():
    index = index_of("1.jpg", "b/1.jpg", "z/a/b/1.jpg", "a/b/1.jpg", "p")
    assert find(index, "a/b/1.jpg", "c/b/1.jpg", "c/1.jpg", identities=["p"] * 3) == [3, 1, 0]
    assert index.disputed >= 3
    assert list(index.missing()) == []


def test_repeated_rows_are_counted_and_the_first_counts():
    index = index_of("a/1.jpg", "a/2.jpg", "a\\1.png", "./a/1.jpg")
    assert (index.rows, index.repeated) == (2, 2)
    assert find(index, "a/1.jpg") == [0]


def test_items_that_share_a_row_are_counted():
    index = index_of("1.jpg")
    assert find(index, "a/1.jpg", "b/1.jpg") == [0, 0]
    assert find(index, "c/1.jpg") == [0]
    assert index.shared == 2


def test_missing_rows_come_in_the_list_s_order_each_once():
    index = index_of("c/1.jpg", "a/1.jpg", "c/1.png", "b/1.jpg", "who")
    find(index, "a/1.jpg")
    assert list(index.missing()) == [("c/1.jpg", 0), ("b/1.jpg", 3)]
    index.forget_items()
    assert [path for path, _ in index.missing()] == ["c/1.jpg", "a/1.jpg", "b/1.jpg"]


def test_all_rows_that_end_in_an_item_s_path_are_there():
    index = index_of("a/1.jpg", "b/1.jpg", "c/2.jpg")
    assert find(index, "1.jpg") == [0]
    assert list(index.missing()) == [("c/2.jpg", 2)]
    assert index.disputed == 1


def test_lists_that_change_while_they_are_read_are_an_error():
    rows = iter([[("a/1.jpg", 0)], [("a/b/c/1.jpg", 0)]])
    index = PathIndex(lambda: iter(next(rows)))
    with pytest.raises(SourceError, match="the lists: changed while they were read"):
        list(index.missing())


def test_no_rows_name_nothing():
    index = index_of()
    assert find(index, "a/1.jpg") == [-1]
    assert list(index.missing()) == []


@pytest.mark.parametrize("path", ["./a.jpg", "/a.jpg", ".\\a.jpg", "././/a.jpg", "a.jpg"])
def test_a_plain_path_has_nothing_before_it(path):
    assert plain_path(path) == "a.jpg"
    assert plain_path("../a") == "../a"


PATHS = st.lists(st.sampled_from("ab12"), min_size=2, max_size=4).map("/".join)


@given(st.lists(PATHS, max_size=12), st.lists(PATHS, max_size=12, unique=True))
def test_the_index_agrees_with_a_slow_search(rows, sources):
    def meet(row, source):
        short, long = sorted((row.split("/"), source.split("/")), key=len)
        return long[-len(short) :] == short

    index = index_of(*rows)
    found = find(index, *sources)
    for source, value in zip(sources, found, strict=True):
        matches = [row for row in rows if meet(row, source)]
        assert (value >= 0) == bool(matches)
        assert value < 0 or meet(rows[value], source)
    lost = {row for row in rows if not any(meet(row, source) for source in sources)}
    assert [row for row, _ in index.missing()] == [r for r in dict.fromkeys(rows) if r in lost]


def test_items_of_one_identity_s_row_are_not_told_as_sharing_it():
    index = index_of("m.0107_f", "x/1.jpg")
    assert find(index, "a/1.jpg", "a/2.jpg", identities=["m.0107_f"] * 2) == [0, 0]
    assert find(index, "b/x/1.jpg", "c/x/1.jpg") == [1, 1]
    assert index.shared == 1
