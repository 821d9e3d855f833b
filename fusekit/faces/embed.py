"""Embeddings of stored crops: each model gets the face as its own input contract wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import cv2
import numpy as np

from fusekit.errors import MissingExtraError, ModelError
from fusekit.faces.align import warp
from fusekit.faces.template import ARCFACE_SIZE, DLIB_CENTRE, DLIB_LENGTH
from fusekit.models.onnx_graph import embedder_input, read_graph
from fusekit.models.session import open_session

if TYPE_CHECKING:
    from fusekit.faces.boxes import Floats
    from fusekit.faces.image import RgbImage
    from fusekit.faces.template import Matrix
    from fusekit.models.contract import InputContract
    from fusekit.models.registry import ResolvedModel

_DLIB_BATCH: Final = 32


class Embedder(Protocol):
    """Turns aligned crops into vectors."""

    dim: int

    def embed(self, crops: RgbImage) -> Floats:
        """Embed crops.

        Args:
            crops: uint8 ``(N, 112, 112, 3)`` RGB, aligned to the ArcFace template.

        Returns:
            float32 ``(N, dim)``, as the model gives them, not normalised.
        """
        ...


def open_embedder(model: ResolvedModel) -> Embedder:
    """Open an embedder; a worker process does this once.

    Args:
        model: From :func:`fusekit.models.registry.resolve_model`, of the task ``embed``.

    Raises:
        ModelError: The file can't be opened, or gives no vectors.
        MissingExtraError: It needs dlib, which is not installed.
    """
    cv2.setNumThreads(0)
    if model.contract is None:
        raise ModelError(model.spec, f"is for the task {model.task}", "a model that can embed")
    if model.path.suffix == ".dat":
        return DlibEmbedder(model)
    return OnnxEmbedder(model)


def chip_matrix(contract: InputContract) -> Matrix:
    """Give the transform from a stored 112x112 ArcFace crop to a model's input.

    Returns:
        ``(2, 3)``. For ``arcface-112`` a plain scaling of the template; for ``dlib-chip-150`` the
        square that dlib would cut, brought to the input's size.
    """
    if contract.template == "dlib-chip-150":
        scale, (x, y) = contract.size[0] / DLIB_LENGTH, DLIB_CENTRE
        half = contract.size[0] / 2
        return np.array([[scale, 0, half - scale * x], [0, scale, half - scale * y]])
    scale = contract.size[0] / ARCFACE_SIZE
    return np.array([[scale, 0, 0], [0, scale, 0]])


class OnnxEmbedder:
    """An ONNX model run by onnxruntime, one crop at a time.

    One at a time, because the batch that a crop happens to share may change its last bits.

    Args:
        model: The model and its contract.
    """

    def __init__(self, model: ResolvedModel) -> None:
        assert model.contract is not None
        self._where = model.path
        self._contract = model.contract
        self._matrix = chip_matrix(model.contract)
        self._graph = embedder_input(read_graph(model.path), model.path)
        self._session = open_session(model.path)
        self._input = self._session.get_inputs()[0].name
        if self._graph.batch not in (None, 1):
            raise ModelError(
                model.path, f"takes batches of exactly {self._graph.batch}", "1, or any"
            )
        self.dim = (
            model.contract.dim
            or self._run(np.zeros((ARCFACE_SIZE, ARCFACE_SIZE, 3), np.uint8)).size
        )

    def embed(self, crops: RgbImage) -> Floats:
        """Embed crops; see :class:`Embedder`."""
        out = np.empty((len(crops), self.dim), np.float32)
        for i, crop in enumerate(crops):
            vector = self._run(crop)
            if vector.size != self.dim:
                raise ModelError(self._where, f"gives {vector.size} numbers a face", str(self.dim))
            out[i] = vector
        return out

    def _run(self, crop: RgbImage) -> Floats:
        contract = self._contract
        chip = (
            crop if contract.size == crop.shape[1::-1] else warp(crop, self._matrix, contract.size)
        )
        if contract.colour == "bgr":
            chip = chip[..., ::-1]
        pixels = (chip.astype(np.float32) - np.float32(contract.mean)) / np.float32(contract.scale)
        if not self._graph.channels_last:
            pixels = pixels.transpose(2, 0, 1)
        blob = np.ascontiguousarray(pixels[None])
        return np.asarray(self._session.run(None, {self._input: blob})[0], np.float32).reshape(-1)


class DlibEmbedder:
    """dlib's face recognition ResNet, on chips cut as dlib cuts them.

    Args:
        model: The model and its contract.
    """

    def __init__(self, model: ResolvedModel) -> None:
        assert model.contract is not None
        self._contract = model.contract
        self._matrix = chip_matrix(model.contract)
        self._net = _open_dlib(model)
        self.dim = model.contract.dim or 128

    def embed(self, crops: RgbImage) -> Floats:
        """Embed crops; see :class:`Embedder`."""
        out = np.empty((len(crops), self.dim), np.float32)
        for start in range(0, len(crops), _DLIB_BATCH):
            part = crops[start : start + _DLIB_BATCH]
            chips = [warp(crop, self._matrix, self._contract.size) for crop in part]
            vectors = self._net.compute_face_descriptor(chips, 0)
            out[start : start + len(part)] = [np.array(vector) for vector in vectors]
        return out


def _open_dlib(model: ResolvedModel) -> Any:  # noqa: ANN401 - dlib ships no types
    try:
        import dlib
    except ImportError:
        raise MissingExtraError(model.spec, "dlib") from None
    try:
        return dlib.face_recognition_model_v1(str(model.path))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(model.path, f"dlib can't open it ({reason})") from None
