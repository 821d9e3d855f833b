import inspect
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fusekit.readers.trees.walk import FolderTree

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


def _is_passed_over(name):
    *folders, last = name.split("/")
    return last.startswith("._") or any(folder.startswith(".") for folder in folders)


def _empty_hidden(folder):
    return any(p.is_dir() and p.name.startswith(".") for p in Path(folder).rglob("*"))
