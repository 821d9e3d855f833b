"""A run of JPEG crops decoded in one call, by a small compiled library where it was built.

``decode_run.c`` is compiled when fusekit is installed, if there are a C compiler and the headers
of libjpeg-turbo; see :mod:`fusekit.compiled`.
"""

from __future__ import annotations

from ctypes import c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import simplejpeg

from fusekit.compiled import check_array, is_allowed, load_call

if TYPE_CHECKING:
    import numpy.typing as npt

    from fusekit.compiled import Call

    Pixels: TypeAlias = npt.NDArray[np.uint8]
    Numbers: TypeAlias = npt.NDArray[np.int64]
    Found: TypeAlias = npt.NDArray[np.bool_]

LIBRARY: Final = Path(__file__).with_name("decode_run.so")
_NAME: Final = "fusekit_decode_run_1"
_ARGUMENTS: Final = (
    c_size_t, c_void_p, c_void_p, c_void_p, c_uint32, c_uint32, c_int, c_void_p, c_void_p,
)  # fmt: skip
_KINDS: Final = ("444", "422", "420", "440", "411", "Gray")


class NativeDecoder:
    """Decode runs of crops of one size; any number of threads call it at once.

    Args:
        call: The library's function.
        height: Rows of every crop.
        width: Columns of every crop.
    """

    def __init__(self, call: Call, height: int, width: int) -> None:
        self._call, self._height, self._width = call, height, width

    def decode(
        self, addresses: Numbers, lengths: Numbers, out: Pixels, flips: Found | None
    ) -> Found:
        """Decode a run of JPEG crops into a batch, without the interpreter's lock.

        The caller keeps what is at the addresses in place until this returns.

        Args:
            addresses: Where each stored image begins in memory, int64, ``(n,)``.
            lengths: Its bytes, int64, ``(n,)``; 0: that crop is left out.
            out: Where the pixels go, RGB, uint8, ``(n, H, W, 3)`` or ``(n, 3, H, W)``, C order.
            flips: Which crops are mirrored left to right, ``(n,)``; None: none of them.

        Returns:
            Which crops were decoded, ``(n,)``: those that ``simplejpeg`` decodes, to the same
            pixels. A few that it also decodes may be missing. The places of the others hold
            anything.
        """
        count, shape = len(out), (self._height, self._width)
        planes = out.shape[1:] == (3, *shape)
        if not planes and out.shape[1:] != (*shape, 3):
            raise ValueError(out.shape)
        for array, dtype in ((addresses, np.int64), (lengths, np.int64), (out, np.uint8)):
            check_array(array, dtype, count)
        if flips is not None:
            check_array(flips, np.bool_, count)
        status = np.empty(count, np.uint8)
        self._call(
            count, addresses.ctypes.data, lengths.ctypes.data, out.ctypes.data, *shape, planes,
            None if flips is None else flips.ctypes.data, status.ctypes.data,
        )  # fmt: skip
        return np.equal(status, 0)


def find_native(height: int, width: int) -> NativeDecoder | None:
    """Give the compiled decoder for crops of a size; None where there is none to use.

    It is looked for, and compared with simplejpeg, once for a process; ``FUSEKIT_NATIVE=0`` is
    heeded at every call.
    """
    if not is_allowed():
        return None
    call = load_call(LIBRARY, _NAME, _ARGUMENTS, _agrees, "crops are decoded one by one")
    return None if call is None else NativeDecoder(call, height, width)


def _agrees(call: Call) -> bool:
    """Compare the library with simplejpeg: they bring different releases of libjpeg-turbo."""
    height, width = 45, 51  # no whole number of blocks in any kind
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 5, y * 5, (x * y * 7) % 256], axis=2).astype(np.uint8)
    grey = np.ascontiguousarray(image[..., 2:])
    data = [
        simplejpeg.encode_jpeg(grey, 70, "GRAY", "Gray")
        if kind == "Gray"
        else simplejpeg.encode_jpeg(image, 70, "RGB", kind)
        for kind in _KINDS
    ]
    wanted = np.stack([simplejpeg.decode_jpeg(each, "RGB") for each in data])
    held = [np.frombuffer(each, np.uint8) for each in data]
    got = np.empty_like(wanted)
    made = NativeDecoder(call, height, width).decode(
        np.array([each.ctypes.data for each in held], np.int64),
        np.array([each.size for each in held], np.int64), got, None,
    )  # fmt: skip
    return bool(made.all()) and np.array_equal(got, wanted)
