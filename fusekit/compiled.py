"""Small compiled libraries, each beside the module that uses it: found, tried, used or left alone.

They are made when fusekit is installed, where there is a C compiler (``hatch_build.py``). Without
one, or with ``FUSEKIT_NATIVE=0`` in the environment, all the same is done without them, slower.
"""

from __future__ import annotations

import ctypes
import logging
import os
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    Call: TypeAlias = Callable[..., None]

_log = logging.getLogger("fusekit.compiled")


def is_allowed() -> bool:
    """Tell whether compiled libraries may be used: not where ``FUSEKIT_NATIVE`` is 0."""
    return os.environ.get("FUSEKIT_NATIVE") != "0"


@cache
def load_call(
    library: Path,
    name: str,
    arguments: Sequence[type],
    agrees: Callable[[Call], bool],
    otherwise: str,
) -> Call | None:
    """Find a function of a library, and try it; once for a process.

    Args:
        library: Its file.
        name: The function's. It ends in a number that goes up with the arguments, so that a
            library that was built of an older source is not used.
        arguments: Their types, in ctypes.
        agrees: Tells whether the function gives what it must.
        otherwise: What happens without it, for the warning.

    Returns:
        None where there is nothing to use: without a word where there is no library.
    """
    if not library.exists():
        return None  # it is an option: nothing to say
    try:
        call = getattr(ctypes.CDLL(str(library)), name)
    except (OSError, AttributeError) as error:
        # What it needs was taken away, or it is of another machine or an older source.
        _log.warning("%s can't be used (%s): %s", library.name, error, otherwise)
        return None
    call.argtypes, call.restype = list(arguments), None
    if not agrees(call):
        _log.warning("%s gives other values than it must: %s", library.name, otherwise)
        return None
    found: Call = call
    return found


def check_array(array: npt.NDArray[np.generic], dtype: npt.DTypeLike, count: int) -> None:
    """Keep a library from what it can't see: another type, or fewer values than it reads.

    Raises:
        ValueError: It is of another type, length or order.
    """
    if array.dtype != dtype or len(array) != count or not array.flags.c_contiguous:
        raise ValueError((array.dtype, array.shape, array.flags.c_contiguous))
