import pytest
from support.raw import unlabeled_folder, write_files

from fusekit.cards.card import load_card
from fusekit.errors import SourceError
from fusekit.readers.registry import open_reader


def test_a_crawl_s_pictures_are_found_at_any_depth_and_name_nobody(tmp_path):
    reader = open_reader(load_card("unlabeled"), unlabeled_folder(tmp_path))
    items = list(reader.items())
    assert [item.source for item in items] == ["img0.jpg", "img1.jpg", "img2.jpg", "more/img0.jpg"]
    assert all(item.identity is None and item.split is None for item in items)
    assert all(len(reader.read(item)) == item.size for item in items)
    assert reader.names() == {}
    assert reader.ignored() == {"lists and metadata (by suffix)": 1}
    assert (reader.form, reader.form_spec.faces) == ("unlabeled", "all")


def test_a_folder_without_pictures_is_an_error(tmp_path):
    write_files(tmp_path, {"master.csv": "x"})
    with pytest.raises(
        SourceError, match="holds no pictures; expected pictures, in folders or not"
    ):
        list(open_reader(load_card("unlabeled"), tmp_path).items())


def test_a_file_is_no_folder_of_pictures(tmp_path):
    write_files(tmp_path, {"a.jpg": "x"})
    with pytest.raises(SourceError, match=r"a.jpg: holds no form of unlabeled; .*pictures, in f"):
        open_reader(load_card("unlabeled"), tmp_path / "a.jpg")
