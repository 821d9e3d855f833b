"""One ONNX model opened for inference: one thread, on the processor, nothing printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusekit.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path


def open_session(path: Path) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    """Open an ONNX file with onnxruntime on one thread of the processor.

    One thread, because a worker process owns one core, and because sums taken by several threads
    may differ in their last bit.

    Returns:
        An ``onnxruntime.InferenceSession``.

    Raises:
        ModelError: onnxruntime can't open it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # failures come as exceptions; the rest is noise
    try:
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001 - its exceptions share no base but Exception
        reason = " ".join(str(error).split())[:200]
        raise ModelError(path, f"onnxruntime can't open it ({reason})", "an ONNX model") from None
