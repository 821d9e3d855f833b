import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.forms_lists import ms_celeb_tsv, v1c
from support.raw import casia_tree, record_pack, vggface2_tree, write_files, write_pictures

from fusekit.cards.card import Card, CardForm, load_card
from fusekit.errors import SourceError, UsageError
from fusekit.ingest.dataset import ingest_dataset
from fusekit.readers.item import EvaluationReader, Item, RemarkingReader
from fusekit.readers.lists import ListedReader
from fusekit.readers.registry import open_reader


def judged(tmp_path, reader, keep=(), out=(), *, relabel=False):
    """A reader under lists that are given by their text."""
    files = {f"lists/{kind}{n}.txt": text for kind, texts in (("keep", keep), ("out", out))
             for n, text in enumerate(texts)}  # fmt: skip
    write_files(tmp_path, files)
    paths = [[tmp_path / name for name in files if f"/{kind}" in name] for kind in ("keep", "out")]
    return ListedReader(reader, *paths, relabel=relabel)


def folders(root, *names, kind="labeled"):
    write_pictures(root, *names)
    form = CardForm(reader="folders" if kind == "labeled" else "unlabeled")
    return open_reader(Card(name="mine", kind=kind, forms=(form,)), root)


def verdicts(reader):
    return {item.source: (item.identity, item.reject) for item in reader.items()}


THREE = ("a/1.jpg", "a/2.jpg", "b/1.jpg")


def test_a_clean_list_keeps_what_it_names(tmp_path):
    reader = judged(tmp_path, folders(tmp_path / "raw", *THREE), ["a/1.jpg 0\nb/1.jpg 1\n"])
    items = list(reader.items())
    assert [(i.source, i.reject, i.reject_detail) for i in items] == [
        ("a/1.jpg", None, None),
        ("a/2.jpg", "unlisted", "no clean list names it"),
        ("b/1.jpg", None, None),
    ]
    assert [i.identity for i in items] == ["a", "a", "b"]
    assert [len(reader.read(item)) == item.size for item in items] == [True] * 3
    assert (reader.remarks(), reader.ignored(), reader.numeric_identities) == ([], {}, False)


def test_several_clean_lists_are_one(tmp_path):
    # C-MS-Celeb: its two lists belong together, and the label comes first.
    lists = ["5 a/1.jpg\n", "5 b/1.jpg\n6 a/2.jpg\n"]
    reader = judged(tmp_path, folders(tmp_path / "raw", *THREE), lists, relabel=True)
    assert verdicts(reader) == {
        "a/1.jpg": ("5", None), "a/2.jpg": ("6", None), "b/1.jpg": ("5", None)
    }  # fmt: skip
    assert reader.numeric_identities
    assert reader.names() == {}


def test_a_row_without_an_item_is_missing_after_all_others(tmp_path):
    clean = ".\\z\\9.jpg 3\na/1.jpg 0\nz/9.jpg 3\n"
    reader = judged(tmp_path, folders(tmp_path / "raw", *THREE), [clean])
    assert list(reader.items())[3:] == [
        Item("z/9.jpg", 0, None, reject="missing", reject_detail="a clean list names it")
    ]
    assert reader.ignored() == {"repeated rows of the clean lists": 1}
    relabeled = judged(tmp_path, folders(tmp_path / "raw", *THREE), [clean], relabel=True)
    assert list(relabeled.items())[3].identity == "3"
    assert verdicts(relabeled)["b/1.jpg"] == (None, "unlisted")


def test_an_exclusion_list_leaves_out_items_and_whole_identities(tmp_path):
    out = ["b\nnobody\n", "# noise\nx\ta/2.jpg\ny\tz/1.jpg\n"]
    reader = judged(tmp_path, folders(tmp_path / "raw", *THREE), [], out)
    assert verdicts(reader) == {
        "a/1.jpg": ("a", None), "a/2.jpg": ("a", "unlisted"), "b/1.jpg": ("b", "unlisted")
    }  # fmt: skip
    assert [i.reject_detail for i in reader.items()][1:] == ["an exclusion list names it"] * 2
    assert reader.ignored() == {"identities of the exclusion lists that nobody has": 1}
    assert reader.remarks() == ["1 rows of the exclusion lists name no item"]


def test_what_both_kinds_of_list_name_is_left_out_and_not_missing(tmp_path):
    reader = judged(tmp_path, folders(tmp_path / "raw", *THREE), ["a/1.jpg\nb\n"], ["a/1.jpg"])
    assert verdicts(reader) == {
        "a/1.jpg": ("a", "unlisted"), "a/2.jpg": ("a", "unlisted"), "b/1.jpg": ("b", None)
    }  # fmt: skip


def test_labels_that_join_or_split_identities_are_told(tmp_path):
    clean = "a/1.jpg 0\na/2.jpg 1\nb/1.jpg 1\n"
    reader = judged(tmp_path, folders(tmp_path / "raw", *THREE), [clean])
    list(reader.items())
    assert reader.remarks() == [
        "the clean list joins 2 and splits 1 of the source's identities; --relabel takes its labels"
    ]
    split = judged(tmp_path, folders(tmp_path / "raw", *THREE), ["a/1.jpg 0\na/2.jpg 1\n"])
    list(split.items())
    assert split.remarks()[0].startswith("the clean list splits 1 of the source's identities; ")
    taken = judged(tmp_path, folders(tmp_path / "raw", *THREE), [clean], relabel=True)
    list(taken.items())
    assert taken.remarks() == []


def test_rows_that_dispute_or_share_items_are_told(tmp_path):
    reader = judged(tmp_path, folders(tmp_path / "raw", *THREE), ["1.jpg 0\na/1.jpg 1\n"])
    list(reader.items())
    shared, disputed, *_ = reader.remarks()
    assert shared.startswith("1 items share their row of the clean lists with another item: the")
    assert disputed.startswith("1 items have several rows with different labels in the clean")


def test_labels_of_text_keep_the_names_of_the_source(tmp_path):
    inner = open_reader(load_card("ms1m"), ms_celeb_tsv(tmp_path / "raw"))
    clean = "m.02x m.0107_f/3-FaceId-0.jpg\nm.02x m.02x/0-FaceId-0.jpg\n"
    reader = judged(tmp_path, inner, [clean], relabel=True)
    kept = [item for item in reader.items() if item.reject is None]
    assert [item.identity for item in kept] == ["m.02x", "m.02x"]
    assert not reader.numeric_identities
    assert reader.names()["m.02x"] == "Bénédicte"
    assert all(len(reader.read(item)) == item.size for item in kept)


def test_relabeling_needs_labels(tmp_path):
    inner = folders(tmp_path / "raw", *THREE)
    message = r"keep1.txt: has no labels; expected rows such as 'folder/picture.jpg 0'; leave out"
    with pytest.raises(SourceError, match=message):
        judged(tmp_path, inner, ["a/1.jpg 0", "a/2.jpg"], relabel=True)
    with pytest.raises(UsageError, match=r"--relabel: there is no list with labels; give --list"):
        judged(tmp_path, inner, [], ["a"], relabel=True)


def test_nobody_gets_an_identity_in_unlabeled_data(tmp_path):
    inner = folders(tmp_path / "raw", "a/1.jpg", kind="unlabeled")
    reader = judged(tmp_path, inner, ["a/1.jpg 0\nb/2.jpg 1\n"], relabel=True)
    assert verdicts(reader) == {"a/1.jpg": (None, None), "b/2.jpg": (None, "missing")}
    assert reader.remarks() == [
        "the source names nobody: there is no identity that --relabel could replace"
    ]


def test_what_the_source_rejects_already_keeps_its_reason(tmp_path):
    inner = open_reader(load_card("ms1m"), v1c(tmp_path / "raw"))
    reader = judged(tmp_path, inner, ["m.02x/99-FaceId-0.jpg\nm.02x/1-FaceId-0.jpg"])
    rejects = [item.reject for item in reader.items()]
    assert sorted(map(str, rejects)) == ["None", "missing", "unlisted", "unlisted", "unlisted"]


def test_a_reader_under_lists_passes_on_what_it_says(tmp_path):
    class Inner:
        form = "x"
        form_spec = None
        numeric_identities = True
        front_to_back = True

        def items(self):
            yield Item("p.rec#1", 3, "7", offset=4, bbox=(1, 2, 3, 4), url="u", split="train")

        def read(self, item):
            return b"abc"

        def names(self):
            return {"7": "Ann"}

        def ignored(self):
            return {"empty lines": 2}

        def remarks(self):
            return ["look"]

        def tables(self):
            return {"pairs": iter([pa.RecordBatch.from_pydict({"a": [1]})])}

    reader = judged(tmp_path, Inner(), ["7 p.rec#1"])
    assert isinstance(reader, EvaluationReader)
    assert isinstance(reader, RemarkingReader)
    assert list(reader.items()) == list(Inner().items())
    assert (reader.front_to_back, reader.numeric_identities) == (True, True)
    assert (reader.names(), reader.ignored()) == ({"7": "Ann"}, {"empty lines": 2})
    assert (reader.remarks(), list(reader.tables())) == (["look"], ["pairs"])
    assert judged(tmp_path, folders(tmp_path / "raw", *THREE), ["a"]).tables() == {}
    relabeled = judged(tmp_path, Inner(), ["9 p.rec#1"], relabel=True)
    [item] = relabeled.items()
    assert (item.identity, item.bbox, item.url, item.split) == ("9", (1, 2, 3, 4), "u", "train")


class Sources:
    """A reader of nothing but names."""

    form, form_spec, numeric_identities, front_to_back = "x", None, False, False

    def __init__(self, sources):
        self.sources = sources

    def items(self):
        for source in self.sources:
            yield Item(source, 1, source.split("/")[0])

    def ignored(self):
        return {}


PATHS = st.tuples(st.sampled_from("ab"), st.sampled_from("123")).map("/".join)


@given(st.lists(PATHS, unique=True), st.lists(PATHS, min_size=1), st.lists(PATHS), st.booleans())
def test_every_item_and_every_row_is_accounted_for(sources, rows, out, relabel):
    with TemporaryDirectory() as folder:
        clean, noise = Path(folder, "clean.txt"), Path(folder, "noise.txt")
        clean.write_text("".join(f"{row}.jpg {n}\n" for n, row in enumerate(rows)))
        noise.write_text("".join(f"./{row}.png\n" for row in out))
        lists = [clean], [noise] if out else []
        reader = ListedReader(Sources(sources), *lists, relabel=relabel)
        if sources and not set(sources) & set(rows):
            with pytest.raises(SourceError, match="no row names an item"):
                list(reader.items())
            return
        for _ in range(2):  # listing again gives the same
            items = {item.source: item for item in reader.items()}
            kept = {source for source, item in items.items() if item.reject is None}
            lost = {source for source, item in items.items() if item.reject == "missing"}
            assert kept == set(sources) & set(rows) - set(out)
            assert lost == {f"{row}.jpg" for row in set(rows) - set(sources)}
            assert len(items) == len(sources) + len(lost)
        assert reader.ignored().get("repeated rows of the clean lists", 0) == len(rows) - len(
            set(rows)
        )
        if relabel:
            assert all(items[source].identity == str(rows.index(source)) for source in kept)


def test_a_list_of_another_root_is_refused_with_a_row_and_an_item(tmp_path):
    write_pictures(tmp_path / "raw", "MsCelebV1/m.01/1-FaceId-0.jpg")
    write_files(tmp_path, {"clean.txt": "msra/m.01/1-FaceId-0.jpg 0\n"})
    inner = open_reader(load_card("ms1m"), tmp_path / "raw", "folders")
    reader = ListedReader(inner, [tmp_path / "clean.txt"], [], relabel=False)
    message = (
        f"{tmp_path}/clean.txt: no row names an item: a row is 'msra/m.01/1-FaceId-0.jpg', an item "
        "'MsCelebV1/m.01/1-FaceId-0.jpg'; expected rows of which one is the end of the other; give "
        "--from the folder that the list's paths start at"
    )
    with pytest.raises(SourceError, match=f"^{re.escape(message)}$"):
        list(reader.items())


def test_vggface2_s_own_list_names_its_pictures(tmp_path):
    inner = open_reader(load_card("vggface2"), vggface2_tree(tmp_path / "raw"))
    reader = ListedReader(inner, [tmp_path / "raw/train_list.txt"], [], relabel=False)
    splits = {(item.split, item.reject) for item in reader.items()}
    assert splits == {("train", None), ("test", "unlisted")}


def test_an_ingest_with_lists_adds_up_and_knows_them_again(tmp_path):
    raw = casia_tree(tmp_path / "raw")
    write_files(tmp_path, {
        "clean.txt": "0000045\\001.jpg 0\n0000052\\001.jpg 1\n0000052\\009.jpg 1\n",
        "overlap.txt": "0000052\n",
    })  # fmt: skip
    lists = {"lists": [tmp_path / "clean.txt"], "exclude": [tmp_path / "overlap.txt"]}
    result = ingest_dataset(
        "casia-webface", raw=raw, store=tmp_path / "store", workers=0, relabel=True, **lists
    )
    assert result.items == result.kept + result.rejected == 7
    assert result.rejects["unlisted"] == 5
    assert result.rejects["missing"] == 1


def test_ms_celeb_s_table_and_the_clean_list_of_light_cnn_are_ingested_together(tmp_path):
    clean = "m.0107_f/3-FaceId-1.jpg 0\nm.02x/0-FaceId-0.jpg 0\nm.0107_f/10-FaceId-7.jpg 1\n"
    write_files(tmp_path, {"MS-Celeb-1M_clean_list.txt": clean})
    result = ingest_dataset(
        "ms1m", raw=ms_celeb_tsv(tmp_path / "raw"), store=tmp_path / "store", workers=0,
        lists=[tmp_path / "MS-Celeb-1M_clean_list.txt"],
    )  # fmt: skip
    assert (result.kept, result.rejects) == (2, {"unlisted": 2, "missing": 1})
    assert result.remarks == [
        "the clean list joins 2 of the source's identities; --relabel takes its labels"
    ]


@pytest.mark.shared
def test_celeba_s_table_of_identities_is_a_clean_list(shared):
    raw = shared / "faces/celeba/img_celeba"
    form = CardForm(reader="unlabeled")
    inner = open_reader(Card(name="mine", kind="unlabeled", forms=(form,)), raw)
    lists = [raw.parent / "Anno/identity_CelebA.txt"]
    reader = ListedReader(inner, lists, [], relabel=False)
    assert [item.reject for item in reader.items()] == [None] * 308
    assert (reader.remarks(), reader.ignored()) == ([], {})


def test_a_list_of_labels_relabels_a_pack(tmp_path):
    inner = open_reader(load_card("recordio"), record_pack(tmp_path / "raw"))
    reader = judged(tmp_path, inner, ["train.rec#1 8\ntrain.rec#4 8\n"], relabel=True)
    kept = {item.source: item.identity for item in reader.items() if item.reject is None}
    assert kept == {"train.rec#1": "8", "train.rec#4": "8"}
