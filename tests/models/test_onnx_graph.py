import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.onnx_models import constant_model, mean_colour_embedder

from fusekit.errors import ModelError
from fusekit.models.onnx_graph import Tensor, detector_layout, embedder_input, read_graph


def test_names_and_shapes_are_read_as_they_are_declared(tmp_path):
    path = constant_model(
        tmp_path / "m.onnx", [("a", np.zeros((1, 5))), ("b", np.zeros((2, 3, 4)))]
    )
    graph = read_graph(path)
    assert graph.inputs == (Tensor("input", (None, 3, None, None)),)
    assert graph.outputs == (Tensor("a", (1, 5)), Tensor("b", (2, 3, 4)))
    assert graph.first_nodes == ("a_node", "b_node")


def test_what_is_read_is_what_onnx_reads(tmp_path):
    import onnx

    path = mean_colour_embedder(tmp_path / "m.onnx", (1, 3, 160, 160))
    graph, model = read_graph(path), onnx.load(path).graph
    dims = model.input[0].type.tensor_type.shape.dim
    assert graph.inputs[0].shape == tuple(dim.dim_value for dim in dims)
    assert graph.first_nodes == tuple(node.name for node in model.node)


def test_weights_listed_as_inputs_are_left_out(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    path = mean_colour_embedder(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    path.write_bytes(model.SerializeToString())
    assert [tensor.name for tensor in read_graph(path).inputs] == ["input"]


@given(st.binary(max_size=300), st.integers(0, 299))
def test_bytes_of_any_kind_are_read_or_refused(tmp_path_factory, data, at):
    path = tmp_path_factory.mktemp("graph") / "m.onnx"
    whole = mean_colour_embedder(path).read_bytes()
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    with contextlib.suppress(ModelError):
        embedder_input(read_graph(path), path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 112, 112), "is no face embedder"),
        ((1, 3, 96, 96), "takes 96x96 pixels; expected a square input"),
        ((1, 3, 112, 96), "takes 96x112 pixels"),
        ((1, 3, 192, 192), "is a landmark model; expected a face embedder"),
    ],
)
def test_other_models_are_no_embedders(tmp_path, shape, message):
    path = constant_model(tmp_path / "m.onnx", [("o", np.zeros((1, 8)))], shape)
    with pytest.raises(ModelError, match=message):
        embedder_input(read_graph(path), path)


def test_the_input_of_an_embedder_is_described(tmp_path):
    path = mean_colour_embedder(tmp_path / "m.onnx", ("n", 112, 112, 3), ("Sub_0", "Mul_1"))
    inside = embedder_input(read_graph(path), path)
    assert (inside.size, inside.channels_last, inside.batch, inside.dim, inside.normalises) == (
        (112, 112), True, None, 3, True,
    )  # fmt: skip


def test_a_detectors_fixed_size_is_width_then_height(tmp_path):
    arrays = [("a", np.zeros((1, 9, 4))), ("b", np.zeros((1, 9, 2))), ("c", np.zeros((1, 9, 10)))]
    path = constant_model(tmp_path / "m.onnx", arrays, (1, 3, 480, 640))
    layout = detector_layout(read_graph(path), path)
    assert (layout.name, layout.outputs, layout.fixed_size) == (
        "retinaface", ("a", "b", "c"), (640, 480),
    )  # fmt: skip


def test_a_grey_input_is_no_detector(tmp_path):
    path = constant_model(tmp_path / "m.onnx", [("a", np.zeros((1, 9, 4)))], (1, 1, 64, 64))
    with pytest.raises(ModelError, match="is no face detector; expected one input of shape"):
        detector_layout(read_graph(path), path)
