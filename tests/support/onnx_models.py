"""Tiny ONNX models with the outputs that a test wants, and no weights to speak of."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def constant_model(path: Path, outputs, input_shape=("n", 3, "h", "w"), declared=True) -> Path:
    """Write a model that gives the same arrays whatever it is fed."""
    nodes, infos = [], []
    for name, array in outputs:
        array = np.asarray(array, np.float32)
        tensor = numpy_helper.from_array(array, name + "_value")
        nodes.append(helper.make_node("Constant", [], [name], name=name + "_node", value=tensor))
        shape = array.shape if declared else [f"{name}{i}" for i in range(array.ndim)]
        infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return _save(path, nodes, infos, input_shape)


def mean_colour_embedder(
    path: Path, input_shape=("n", 3, 112, 112), names=("Mean", "Flat")
) -> Path:
    """Write an "embedder" that gives the three channel means of what it is fed."""
    axes = [1, 2] if input_shape[1] != 3 else [2, 3]
    value = numpy_helper.from_array(np.array(axes, np.int64), "axes")
    nodes = [
        helper.make_node("Constant", [], ["axes"], name="axes", value=value),
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], name=names[0], keepdims=0),
        helper.make_node("Identity", ["mean"], ["output"], name=names[1]),
    ]
    info = helper.make_tensor_value_info("output", TensorProto.FLOAT, [input_shape[0], 3])
    return _save(path, nodes, [info], input_shape)


def _save(path: Path, nodes, outputs, input_shape) -> Path:
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, input_shape)
    graph = helper.make_graph(nodes, "tiny", [entry], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    path.write_bytes(model.SerializeToString())
    return path
