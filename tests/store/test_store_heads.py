"""Heads: loaded as numbers only, checked, with rows of a dataset standing together."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from fusekit.errors import ModelError, StoreError, UsageError
from fusekit.store.embeddings import EmbeddingModel
from fusekit.store.heads import load_head, write_head
from fusekit.store.layout import open_store

MODEL = EmbeddingModel("r50", "ab" * 32)
ROWS = [("b", "x"), ("a", "y"), ("b", "z"), ("a", "w")]


@pytest.fixture
def storage(tmp_path):
    return open_store(tmp_path / "store", create=True)


def centres(count=4, dim=6):
    weight = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
    return weight / np.linalg.norm(weight, axis=1, keepdims=True)


def test_a_head_comes_back_with_each_datasets_rows_together(storage):
    weight = centres()
    write_head(storage, "r50", weight, scale=64, rows=ROWS, embedder=MODEL)
    head = load_head(storage, "r50")
    assert head.ranges == (("b", 0, 2), ("a", 2, 4))
    assert head.identities == ("x", "z", "y", "w")
    np.testing.assert_allclose(head.weight, weight[[0, 2, 1, 3]], atol=1e-6)
    assert (head.scale, head.embedder, head.normalized, head.mapped) == (
        64.0, MODEL.sha256, False, True,
    )  # fmt: skip
    assert load_head(storage, str(storage.path("heads/r50.safetensors"))).sha256 == head.sha256


def test_the_digest_covers_the_weights_and_what_stands_beside_them(storage):
    digests = set()
    for weight, scale in [(centres(), 64), (centres(), 32), (-centres(), 64)]:
        write_head(storage, "r50", weight, scale=scale, rows=ROWS, embedder=MODEL)
        digests.add(load_head(storage, "r50").sha256)
    assert len(digests) == 3


def test_an_npz_with_weight_and_scale_is_enough(storage, tmp_path):
    path = tmp_path / "head.npz"
    np.savez(path, weight=centres().astype(np.float16), scale=48.0)
    head = load_head(storage, str(path))
    assert head.ranges == (("head", 0, 4),)
    assert head.identities == ("0", "1", "2", "3")
    assert (head.scale, head.embedder, head.mapped) == (48.0, None, False)
    assert head.weight.dtype == np.float32


def test_rows_of_other_lengths_are_normalised_and_it_is_said(storage, tmp_path):
    path = tmp_path / "head.safetensors"
    safetensors.numpy.save_file({"weight": centres() * 5, "scale": np.array([30.0])}, path)
    head = load_head(storage, str(path))
    assert head.normalized
    np.testing.assert_allclose(np.linalg.norm(head.weight, axis=1), 1, atol=1e-6)


def test_some_datasets_of_a_head_can_be_taken(storage):
    write_head(storage, "r50", centres(), scale=64, rows=ROWS, embedder=MODEL)
    head = load_head(storage, "r50")
    assert head.of_datasets([]) is head
    only = head.of_datasets(["a"])
    assert (only.ranges, only.identities) == ((("a", 0, 2),), ("y", "w"))
    np.testing.assert_array_equal(only.weight, head.weight[2:])
    with pytest.raises(ModelError, match=r"r50: has no rows of c; expected one of b, a"):
        head.of_datasets(["c"])


def test_a_head_without_a_mapping_is_taken_to_be_of_the_named_datasets(storage, tmp_path):
    path = tmp_path / "head.npz"
    np.savez(path, weight=centres(), scale=64)
    head = load_head(storage, str(path))
    assert head.of_datasets(["ms1m"]).ranges == (("ms1m", 0, 4),)
    assert head.of_datasets(["ms1m", "glint"]).ranges == (("head", 0, 4),)


def test_another_embedder_or_dimension_is_refused(storage):
    write_head(storage, "r50", centres(), scale=64, rows=ROWS, embedder=MODEL)
    head = load_head(storage, "r50")
    head.check_model(MODEL)
    head.check_dim(MODEL, 6)
    with pytest.raises(
        ModelError, match=r"r50: an embedder that differs from the head's: r100 cdcdcdcd; expected"
    ):
        head.check_model(EmbeddingModel("r100", "cd" * 32))
    with pytest.raises(ModelError, match=r"r50: has centres of 6 numbers; expected 512 as r50"):
        head.check_dim(MODEL, 512)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_a_pickle_is_never_run(storage, tmp_path):
    npz, bare = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(npz, weight=np.array([Trap()], dtype=object), scale=1.0)
    bare.write_bytes(pickle.dumps(Trap()))
    for path in (npz, bare):
        with pytest.raises(ModelError, match=r"is no head that can be read"):
            load_head(storage, str(path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scale": 1.0}, r"has no array 'weight'; expected class centres \(C, D\)"),
        ({"weight": centres()[0], "scale": 1.0}, r"weight is float32 \(6,\); expected float class"),
        ({"weight": np.ones((2, 3), int), "scale": 1.0}, r"weight is int64 \(2, 3\)"),
        ({"weight": np.ones((0, 3)), "scale": 1.0}, r"weight is float64 \(0, 3\)"),
        ({"weight": np.eye(3) * [1, 0, 1], "scale": 1.0}, r"row 1 is all zeros or not finite"),
        ({"weight": np.eye(3) * np.nan, "scale": 1.0}, r"row 0 is all zeros or not finite"),
        ({"weight": np.eye(3)}, r"says no scale over 0; .*put \"scale\" into a head.json beside"),
        ({"weight": np.eye(3), "scale": -1.0}, r"scale is .*-1.*; expected the number that"),
        ({"weight": np.eye(3), "scale": [1.0, 2.0]}, r"scale is"),
        ({"weight": np.eye(3), "scale": np.inf}, r"scale is"),
    ],
)
def test_a_file_that_is_no_head_says_why(storage, tmp_path, arrays, message):
    path = tmp_path / "head.npz"
    np.savez(path, **arrays)
    with pytest.raises(ModelError, match=message):
        load_head(storage, str(path))


def npz(path, *, shape=(2, 2), data=bytes(16), change=None):
    """Write an .npz whose one array claims a shape, then change bytes of the archive."""
    head = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("weight.npy", head.getvalue() + data)
    raw = bytearray(path.read_bytes())
    for at, value in (change or {}).items():
        raw[at] = value
        raw[raw.index(b"PK\1\2") + at + 2] = value  # the directory says the same, two bytes on
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        ({"shape": (10**10, 512)}, r"is no head that can be read \(Unable to allocate"),
        ({"change": {6: 1}}, r"is no head that can be read \(File 'weight.npy' is encrypted"),
        ({"change": {8: 99}}, r"is no head that can be read \(That compression method"),
    ],
)
def test_a_hostile_npz_is_one_line(storage, tmp_path, hostile, message):
    npz(tmp_path / "head.npz", **hostile)
    with pytest.raises(ModelError, match=message):
        load_head(storage, str(tmp_path / "head.npz"))


def test_a_type_that_numpy_lacks_is_one_line(storage, tmp_path):
    about = {"weight": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}}
    text = json.dumps(about).encode()
    path = tmp_path / "head.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(ModelError, match=r"is no head that can be read"):
        load_head(storage, str(path))


def test_rows_that_are_null_say_nothing_of_whose_row_is_whose(storage, tmp_path):
    np.savez(tmp_path / "head.npz", weight=centres())
    (tmp_path / "head.json").write_text('{"scale": 1, "rows": null}')
    head = load_head(storage, str(tmp_path / "head.npz")).of_datasets(["people"])
    assert head.ranges == (("people", 0, len(centres())),)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("[]", r"head.json: is damaged; expected a JSON object with scale"),
        ("{", r"head.json: is damaged"),
        ('{"format_version": 99}', r"head.json: has format 99; expected at most 2"),
        ('{"scale": "many"}', r"scale is 'many'"),
        ('{"scale": 1, "rows": [["a", "b"]]}', r"rows name 1 classes; expected 4 pairs"),
        ('{"scale": 1, "rows": [["a"], 1, 2, 3]}', r"rows are damaged; expected 4 pairs"),
        ('{"scale": 1, "rows": {"a": 1}}', r"rows are damaged"),
        ("[" * 100_000, r"head.json: is damaged"),
        ('{"scale": 1, "embedder": {"sha256": 5}}', r"embedder has the sha256 5; expected 64 hex"),
    ],
)
def test_what_stands_beside_a_head_is_checked(storage, tmp_path, about, message):
    np.savez(tmp_path / "head.npz", weight=centres())
    (tmp_path / "head.json").write_text(about)
    with pytest.raises(ModelError, match=message):
        load_head(storage, str(tmp_path / "head.npz"))


def test_a_missing_head_is_named_with_those_that_are_there(storage, tmp_path):
    with pytest.raises(StoreError, match=r"head r50: is not in the store; expected the path of"):
        load_head(storage, "r50")
    write_head(storage, "r100", centres(), scale=64, rows=ROWS, embedder=MODEL)
    with pytest.raises(StoreError, match=r"head r50: is not in the store; expected one of r100"):
        load_head(storage, "r50")
    with pytest.raises(ModelError, match=r"none.npz: is not there"):
        load_head(storage, str(tmp_path / "none.npz"))
    with pytest.raises(UsageError, match=r"\.\./x: can't name a head"):
        load_head(storage, "../x")


def test_a_damaged_safetensors_file_is_one_line(storage, tmp_path):
    path = tmp_path / "head.safetensors"
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(ModelError, match=r"head.safetensors: is no head that can be read"):
        load_head(storage, str(path))
    whole = io.BytesIO(safetensors.numpy.save({"weight": centres()})).getvalue()
    path.write_bytes(whole[:-4])
    with pytest.raises(ModelError, match=r"is no head that can be read"):
        load_head(storage, str(path))


def test_a_head_is_checked_before_it_is_written(storage):
    with pytest.raises(ModelError, match=r"h: 3 rows are named; expected 4 as the weights have"):
        write_head(storage, "h", centres(), scale=64, rows=ROWS[:3], embedder=MODEL)
    with pytest.raises(ModelError, match=r"h: scale 0; expected a number over 0"):
        write_head(storage, "h", centres(), scale=0, rows=ROWS, embedder=MODEL)
    assert storage.names("heads") == []


def test_names_in_any_script_survive(storage):
    rows = [("a", "Zoë"), ("a", "王菲"), ("a", "x"), ("a", "y")]
    write_head(storage, "h", centres(), scale=64, rows=rows, embedder=MODEL)
    assert load_head(storage, "h").identities[:2] == ("Zoë", "王菲")
    assert json.loads(storage.read("heads/h.json"))["scale"] == 64
