import inspect
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusekit.readers.trees.folder_tree import FolderTree
from fusekit.readers.trees.tree import open_tree
from fusekit.readers.trees.walk import first_files, folders_in, look_into

part = st.text("ab .-_é0", min_size=1, max_size=3).filter(lambda name: name.strip(". ") != "")
paths = st.lists(st.lists(part, min_size=1, max_size=3).map("/".join), max_size=8)


@settings(max_examples=40)
@given(paths)
def test_files_come_in_the_bytewise_order_of_their_paths_and_none_is_lost(names):
    with tempfile.TemporaryDirectory() as folder:
        made = set()
        for name in names:
            path = Path(folder, name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(name.encode())
            except OSError:
                continue  # a folder stands where the file would, or the other way round
            made.add(name)
        ignored = Counter()
        tree = FolderTree(Path(folder).resolve(), ignored)
        files = list(tree.files())
        sources = [file.source for file in files]
        assert sources == sorted(sources, key=str.encode)
        left_out = {name for name in made if _is_passed_over(name)}
        assert set(sources) == made - left_out
        assert all(tree.read(file.source) == file.source.encode() for file in files)
        assert all(file.size == len(file.source.encode()) for file in files)
        assert bool(ignored) == bool(left_out or _empty_hidden(folder))


def test_a_tree_may_be_deeper_than_python_recurses(tmp_path):
    deep = "d/" * 200
    (tmp_path / deep).mkdir(parents=True)
    (tmp_path / deep / "x.jpg").write_bytes(b"x")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)  # so that the tree need not be a nuisance
    try:
        files = list(FolderTree(tmp_path, Counter()).files())
    finally:
        sys.setrecursionlimit(before)
    assert [file.source for file in files] == [deep + "x.jpg"]


@pytest.mark.parametrize("raw", ["folder", "archive", "archives"])
def test_a_look_gives_what_the_listing_does_but_counts_nothing(tmp_path, raw):
    names = ["b.jpg", "a b/1.jpg", "a/2.jpg", "._b.jpg", ".hidden/3.jpg", "list.txt"]
    if raw == "folder":
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"x")
        root, top = tmp_path, ""
    else:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
            for name in names:
                file.writestr(name, b"x")
        root, top = (tmp_path / "x.zip", "") if raw == "archive" else (tmp_path, "x.zip")
    ignored = Counter()
    tree = open_tree(root, ignored)
    seen, folders, first = look_into(tree, top), folders_in(tree, top), first_files(tree, 4)
    assert not ignored
    listed = list(tree.entries(top))
    assert [(e.source, e.is_folder) for e in seen] == [(e.source, e.is_folder) for e in listed]
    assert [e.source for e in folders] == [e.source for e in listed if e.is_folder]
    assert [e.source for e in first] == [e.source for e in tree.files()][:4]
    assert ignored["desktop files"] > 0


def test_a_look_at_the_first_of_many_files_stops_early(tmp_path):
    for number in range(50):
        (tmp_path / f"{number}.jpg").write_bytes(b"x")
    tree = FolderTree(tmp_path, Counter())
    looked_at = []
    tree._fault = lambda entry: looked_at.append(entry.name)
    assert len(first_files(tree, 5)) == 5
    assert len(looked_at) == 5


def _is_passed_over(name):
    *folders, last = name.split("/")
    return last.startswith("._") or any(folder.startswith(".") for folder in folders)


def _empty_hidden(folder):
    return any(p.is_dir() and p.name.startswith(".") for p in Path(folder).rglob("*"))
