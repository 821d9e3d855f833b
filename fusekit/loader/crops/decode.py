"""Stored crops into pixels, straight into their place."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

if TYPE_CHECKING:
    from fusekit.faces.rewarp import Rewarp

Layout: TypeAlias = Literal["chw", "hwc"]
Pixels: TypeAlias = npt.NDArray[np.uint8]

JPG: Final = 0
PNG: Final = 1
RAW: Final = 2

_PNG_SIZE = slice(16, 24)  # width and height, big endian, in the header chunk


class UnusableCropError(Exception):
    """A stored crop gives no pixels; another row stands in for it.

    Args:
        reason: One word to count by.
        detail: What was found.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Decoder(Protocol):
    """Turns stored crops into pixels of a batch; one object serves one thread."""

    def decode(self, data: bytes | memoryview, code: int, out: Pixels) -> None:
        """Decode one crop into its place; see :meth:`CropDecoder.decode`."""
        ...


class CropDecoder:
    """Decode crops of one size; one object serves one thread.

    Args:
        height: Rows of every crop.
        width: Columns of every crop.
    """

    def __init__(self, height: int, width: int) -> None:
        self._shape = (height, width, 3)
        self._raw_head = npy_head(self._shape)

    def decode(self, data: bytes | memoryview, code: int, out: Pixels) -> None:
        """Decode one crop into its place.

        Args:
            data: The stored image.
            code: Its format: 0 JPEG, 1 PNG, 2 a ``.npy`` file of RGB pixels.
            out: Where the pixels go, RGB, uint8, ``(H, W, 3)``, C order.

        Raises:
            UnusableCropError: The bytes are not a whole image of the right size.
        """
        if code == JPG:
            try:
                got = simplejpeg.decode_jpeg(data, "RGB", buffer=out)
            except ValueError as error:
                raise UnusableCropError("undecodable", str(error)) from None
            self._check(got.shape)
        elif code == PNG:
            self._png(data, out)
        elif code == RAW:
            self._raw(data, out)
        else:
            raise UnusableCropError("format", f"format code {code}")

    def _png(self, data: bytes | memoryview, pixels: Pixels) -> None:
        # The size first: a picture of a billion pixels must not be decoded to be refused.
        size = data[_PNG_SIZE]
        self._check((int.from_bytes(size[4:]), int.from_bytes(size[:4]), 3))
        try:
            got = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise UnusableCropError("undecodable", str(error)) from None
        if got is None:
            raise UnusableCropError("undecodable", "not a whole PNG")
        cv2.cvtColor(got, cv2.COLOR_BGR2RGB, dst=pixels)

    def _raw(self, data: bytes | memoryview, pixels: Pixels) -> None:
        head = len(self._raw_head)
        if len(data) == head + pixels.size:
            # The pixels first: this call waits for the disk without the interpreter's lock.
            np.copyto(pixels, np.frombuffer(data, np.uint8, offset=head).reshape(self._shape))
            if data[:head] == self._raw_head:
                return
        try:
            got = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise UnusableCropError("undecodable", str(error)) from None
        if got.dtype != np.uint8:
            raise UnusableCropError("undecodable", f"pixels of type {got.dtype}")
        self._check(got.shape)
        np.copyto(pixels, got)

    def _check(self, shape: tuple[int, ...]) -> None:
        if shape != self._shape:
            found, wanted = ("x".join(map(str, s)) for s in (shape, self._shape))
            raise UnusableCropError("size", f"{found} pixels, not {wanted}")


class RewarpDecoder:
    """Decode crops of another template than the batch's, and bring them to the ArcFace crop.

    Args:
        rewarp: Of the template that the stored crops are aligned to.
    """

    def __init__(self, rewarp: Rewarp) -> None:
        self._rewarp = rewarp
        width, height = rewarp.size
        self._crops = CropDecoder(height, width)
        self._stored = np.empty((height, width, 3), np.uint8)

    def decode(self, data: bytes | memoryview, code: int, out: Pixels) -> None:
        """Decode one crop into its place; see :meth:`CropDecoder.decode`."""
        self._crops.decode(data, code, self._stored)
        self._rewarp(self._stored, out)


def npy_head(shape: tuple[int, ...]) -> bytes:
    """Give the head that numpy writes before a uint8 array of this shape."""
    head = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    return head.getvalue()
