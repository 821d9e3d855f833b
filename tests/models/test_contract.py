import pytest

from fusekit.errors import ModelError
from fusekit.models.contract import ARCFACE_CONTRACT, InputContract, find_sidecar, read_sidecar


def _read(tmp_path, text, name="m.onnx.yaml"):
    (tmp_path / name).write_text(text)
    return read_sidecar(tmp_path / name, ARCFACE_CONTRACT)


def test_a_sidecar_changes_what_it_says_and_nothing_else(tmp_path):
    assert _read(tmp_path, "colour: bgr\nsize: [128, 128]\nscale: 128\n") == InputContract(
        colour="bgr", size=(128, 128), scale=128.0
    )


def test_a_sidecar_may_be_json(tmp_path):
    text = '{"mean": 0, "scale": 1, "dim": 512}'
    assert _read(tmp_path, text, "m.onnx.json") == InputContract(mean=0, scale=1, dim=512)
    assert find_sidecar(tmp_path / "m.onnx") == tmp_path / "m.onnx.json"
    assert find_sidecar(tmp_path / "n.onnx") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("color: bgr", r"m\.onnx\.yaml: unknown key 'color'; expected one of colour, dim, mean, "
         r"scale, size, template; did you mean 'colour'\?"),
        ("colour: red", "colour: 'red'; expected input should be 'rgb' or 'bgr'"),
        ("size: 112", "size: 112; expected input should be a valid tuple"),
        ("mean: dark", "mean: 'dark'; expected input should be a valid number"),
        ("scale: 0", "a scale or size of 0"),
        ("size: [0, 112]", "a scale or size of 0"),
        ("- a list", "holds a list; expected a mapping of keys to values"),
        ("", "holds a NoneType; expected a mapping"),
        ("a: [", "is no YAML"),
        ("a: &x [1]\nb: *x", "uses a YAML alias; expected plain values"),
        ("#" * 70_000, "is larger than 65536 bytes"),
        ("mean: !!python/object/apply:os.getcwd []", "is no YAML"),
    ],
)  # fmt: skip
def test_a_wrong_sidecar_is_one_line(tmp_path, text, message):
    with pytest.raises(ModelError, match=message) as caught:
        _read(tmp_path, text)
    assert "\n" not in str(caught.value)
