"""What an ONNX file declares: its inputs, outputs and first nodes, read without running it.

ONNX is one protocol-buffers message. The few fields needed here are read straight from the bytes
(names, types and shapes; weights are stepped over), so a wrong file is told before any work starts
and without loading a runtime.

Reference:
    https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers);
    https://protobuf.dev/programming-guides/encoding (wire format).
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fusekit.errors import ModelError
from fusekit.models.session import open_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Span = tuple[int, int]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12  # of GraphProto
_FIRST_NODES = 8
_MAX_VARINT_BITS = 70


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, and its shape with None for a size left open."""

    name: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Graph:
    """What an ONNX file declares.

    Attributes:
        inputs: What must be fed; weights that are listed as inputs too are left out.
        outputs: What it gives, in its order.
        first_nodes: Names of its first eight nodes.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    first_nodes: tuple[str, ...]


@dataclass(frozen=True)
class DetectorLayout:
    """How a detector's outputs are to be read.

    Attributes:
        name: ``retinaface`` (three outputs: boxes, scores, landmarks of all priors) or ``scrfd``
            (nine: scores, boxes, points of three strides).
        outputs: Their names: boxes, scores, landmarks; or three of scores, of boxes, of points.
        fixed_size: Width and height of the input; None when any size will do.
    """

    name: Literal["retinaface", "scrfd"]
    outputs: tuple[str, ...]
    fixed_size: tuple[int, int] | None


@dataclass(frozen=True)
class EmbedderInput:
    """What an embedder's file says of its input and output.

    Attributes:
        size: Width and height; None when any size will do.
        channels_last: Whether the input is ``[batch, h, w, 3]`` rather than ``[batch, 3, h, w]``.
        batch: The fixed batch size; None when any will do.
        dim: Length of the embedding; None when the file does not say.
        normalises: Whether its first nodes subtract and multiply themselves, as models from mxnet
            do, so that it wants plain pixel values (InsightFace's rule, ``arcface_onnx.py``).
    """

    size: tuple[int, int] | None
    channels_last: bool
    batch: int | None
    dim: int | None
    normalises: bool


def read_graph(path: Path) -> Graph:
    """Read what an ONNX file declares.

    Raises:
        ModelError: The file is missing, empty or no ONNX model.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _graph(data)
    except FileNotFoundError:
        raise ModelError(path, "is not there", "an ONNX model") from None
    except (ValueError, IndexError, UnicodeDecodeError):
        raise ModelError(path, "is no ONNX model, or is damaged") from None
    except OSError as error:
        raise ModelError(path, f"can't be read ({error.strerror})") from None


def detector_layout(graph: Graph, path: Path) -> DetectorLayout:
    """Tell how a detector's outputs are laid out.

    Raises:
        ModelError: They are in neither of the two layouts, or the input is no colour image.
    """
    widths = _widths([tensor.shape for tensor in graph.outputs])
    if None in widths and len(widths) in (3, 9):  # left open in the file, but they follow from it
        widths = _widths([output.shape for output in open_session(path).get_outputs()])
    names = [tensor.name for tensor in graph.outputs]
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4 or graph.inputs[0].shape[1] != 3:
        raise ModelError(path, "is no face detector", "one input of shape [batch, 3, h, w]")
    height, width = graph.inputs[0].shape[2:]
    fixed = (width, height) if width and height else None
    if sorted(widths, key=str) == [10, 2, 4]:
        return DetectorLayout(
            "retinaface", tuple(names[widths.index(width)] for width in (4, 2, 10)), fixed
        )
    if widths == [1, 1, 1, 4, 4, 4, 10, 10, 10]:
        return DetectorLayout("scrfd", tuple(names), fixed)
    raise ModelError(
        path,
        f"is no face detector of a known layout: outputs of widths {widths}",
        "4, 2, 10 (RetinaFace) or 1, 1, 1, 4, 4, 4, 10, 10, 10 (InsightFace)",
    )


def _widths(shapes: list[Sequence[Any]]) -> list[int | None]:
    return [shape[-1] if shape and isinstance(shape[-1], int) else None for shape in shapes]


def embedder_input(graph: Graph, path: Path) -> EmbedderInput:
    """Tell what an embedder wants.

    Raises:
        ModelError: It does not turn one colour image of a face into one vector.
    """
    shape = graph.inputs[0].shape if len(graph.inputs) == 1 else ()
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or len(graph.outputs) != 1:
        raise ModelError(
            path, "is no face embedder", "one input [batch, 3, h, w] and one output [batch, dim]"
        )
    channels_last = shape[1] != 3
    height, width = shape[1:3] if channels_last else shape[2:]
    if (width or 112) != (height or 112) or (width or 112) % 16 or not 96 < (width or 112) <= 512:
        raise ModelError(
            path, f"takes {width}x{height} pixels", "a square input of 112 pixels or a little more"
        )
    if width == 192:  # InsightFace's landmark models, told from embedders by this alone
        raise ModelError(path, "is a landmark model", "a face embedder")
    names = [name.lower() for name in graph.first_nodes]
    return EmbedderInput(
        size=(width, height) if width and height else None,
        channels_last=channels_last,
        batch=shape[0],
        dim=graph.outputs[0].shape[-1] if graph.outputs[0].shape else None,
        normalises=any(n.startswith(("sub", "_minus")) for n in names)
        and any(n.startswith(("mul", "_mul")) for n in names),
    )


def _graph(data: mmap.mmap) -> Graph:
    graphs = [span for number, span in _fields(data, (0, len(data))) if number == _GRAPH]
    if not graphs:
        msg = "no graph"
        raise ValueError(msg)
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    weights: set[str] = set()
    nodes: list[str] = []
    for number, span in _fields(data, graphs[0]):
        if number == _NODE and len(nodes) < _FIRST_NODES:
            nodes.append(_text(data, span, 3))
        elif number == _INITIALIZER:
            weights.add(_text(data, span, 8))
        elif number == _INPUT:
            inputs.append(_tensor(data, span))
        elif number == _OUTPUT:
            outputs.append(_tensor(data, span))
    return Graph(
        tuple(tensor for tensor in inputs if tensor.name not in weights),
        tuple(outputs),
        tuple(nodes),
    )


def _tensor(data: mmap.mmap, span: Span) -> Tensor:
    """Read a ValueInfoProto: name (1), type (2) → tensor type (1) → shape (2) → dim (1)."""
    shape: list[int | None] = []
    spans = [span]
    for number in (2, 1, 2, 1):
        spans = [inner for outer in spans for n, inner in _fields(data, outer) if n == number]
    for dim in spans:
        size = [value for n, value in _numbers(data, dim) if n == 1]
        shape.append(size[0] if size and 0 < size[0] < 1 << 63 else None)
    return Tensor(_text(data, span, 1), tuple(shape))


def _text(data: mmap.mmap, span: Span, number: int) -> str:
    for n, (start, end) in _fields(data, span):
        if n == number:
            return data[start:end].decode()
    return ""


def _fields(data: mmap.mmap, span: Span) -> Iterator[tuple[int, Span]]:
    """Walk a message's length-delimited fields: number, and where the content lies."""
    for number, value, is_bytes in _walk(data, span):
        if is_bytes:
            yield number, value


def _numbers(data: mmap.mmap, span: Span) -> Iterator[tuple[int, int]]:
    for number, (value, _), is_bytes in _walk(data, span):
        if not is_bytes:
            yield number, value


def _walk(data: mmap.mmap, span: Span) -> Iterator[tuple[int, Span, bool]]:
    at, end = span
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            msg = "field number 0"
            raise ValueError(msg)
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, (value, 0), False
        elif wire == _BYTES:
            length, at = _varint(data, at)
            if at + length > end:
                msg = "a field longer than its message"
                raise ValueError(msg)
            yield number, (at, at + length), True
            at += length
        elif wire in (_FIXED32, _FIXED64):
            at += 4 if wire == _FIXED32 else 8
        else:
            msg = "unknown wire type"
            raise ValueError(msg)


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _MAX_VARINT_BITS, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    msg = "a number that does not end"
    raise ValueError(msg)
