"""Every random choice of fusekit: keys from a seed, and bijections that need no state.

The generator is ours because a library's may change between releases, and an order that a
training run depends on must not. Nothing here holds state: a number follows from its key.

Reference:
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014
    (splitmix64, the mixer). Black and Rogaway, "Ciphers with arbitrary finite domains",
    CT-RSA 2002 (cycle walking over a Feistel network).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

U64: TypeAlias = npt.NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX_A, _MIX_B = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_STEP, _FACTOR_A, _FACTOR_B = np.uint64(_GAMMA), np.uint64(_MIX_A), np.uint64(_MIX_B)
_SHIFT_A, _SHIFT_B, _SHIFT_C = np.uint64(30), np.uint64(27), np.uint64(31)
_ROUNDS = 4
_ROUND_STEPS = np.array([[(r + 1) * _GAMMA & _MASK] for r in range(_ROUNDS)], np.uint64)
_ONE = np.uint64(1)
_FEW = 5  # values that Python walks sooner than a vectorised round is set up for them
_MAX_DOMAIN = 1 << 53  # bit lengths are taken through float64, which is exact up to here


def mix(value: int) -> int:
    """Mix 64 bits into 64 bits, one to one (splitmix64's finaliser on the next state).

    Example:
        >>> hex(mix(0))
        '0xe220a8397b1dcdaf'
    """
    z = (value + _GAMMA) & _MASK
    z = ((z ^ (z >> 30)) * _MIX_A) & _MASK
    z = ((z ^ (z >> 27)) * _MIX_B) & _MASK
    return z ^ (z >> 31)


def derive(*parts: int | str) -> int:
    """Derive a 64-bit key from the things that it must depend on, in order.

    Args:
        parts: Integers (taken modulo 2**64) and text, such as ``derive(seed, "units")``.

    Example:
        >>> derive(0, "units") == derive(0, "units"), derive(0, 1) == derive(1, 0)
        (True, False)
    """
    key = 0
    for part in parts:
        number = _number(part) if isinstance(part, str) else part
        key = mix(key ^ (number & _MASK))
    return key


@lru_cache(256)  # the same few words name the parts of every step
def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def permute(x: npt.ArrayLike, n: npt.ArrayLike, key: npt.ArrayLike) -> U64:
    """Send each ``x`` in ``[0, n)`` to its place in a keyed permutation of ``[0, n)``.

    A Feistel network on ``ceil(log2 n)`` bits (halves of floor and ceiling width, changed in
    turn, 4 rounds), walked until the value lies inside the domain. Every element may have its
    own domain and key, so one call serves a batch drawn from many sources.

    Args:
        x: Values, any shape, ``0 <= x < n``.
        n: Domain sizes, broadcast against ``x``; ``1 <= n <= 2**53``.
        key: 64-bit keys, broadcast against ``x``.

    Returns:
        uint64 array of the broadcast shape.

    Raises:
        ValueError: A value lies outside its domain.

    Example:
        >>> sorted(permute(range(10), 10, 7).tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    return _walk(x, n, key, range(_ROUNDS))


def unpermute(y: npt.ArrayLike, n: npt.ArrayLike, key: npt.ArrayLike) -> U64:
    """Undo :func:`permute`: give the ``x`` that it sends to ``y``.

    Example:
        >>> unpermute(permute([3, 4], 10, 7), 10, 7).tolist()
        [3, 4]
    """
    return _walk(y, n, key, range(_ROUNDS - 1, -1, -1))


def rank_words(words: npt.ArrayLike, key: int) -> U64:
    """Give each row of 64-bit words a number to rank it by: as random as its key, and its own.

    Args:
        words: ``(N, W)``: what names each of N things, such as a sample's key as W words.
        key: From :func:`derive`.

    Returns:
        ``(N,)`` uint64; a row's number depends on the row and the key alone.

    Example:
        >>> rank_words([[1, 2], [3, 4]], 7).tolist() == [
        ...     mix(mix(7 ^ 1) ^ 2), mix(mix(7 ^ 3) ^ 4)]
        True
    """
    table = np.asarray(words, np.uint64)
    ranks = np.full(len(table), key & _MASK, np.uint64)
    for column in table.T:
        ranks = _mix_array(ranks ^ column)
    return ranks


def _walk(x: npt.ArrayLike, n: npt.ArrayLike, key: npt.ArrayLike, order: range) -> U64:
    value, domain, keys = (np.asarray(each, np.uint64) for each in (x, n, key))
    if not value.shape == domain.shape == keys.shape:  # asked first: it costs ten times as much
        value, domain, keys = np.broadcast_arrays(value, domain, keys)
    shape = value.shape
    value, domain, keys = value.ravel().copy(), domain.ravel(), keys.ravel()
    if value.size == 0:
        return value.reshape(shape)
    if bool((value >= domain).any()) or int(domain.max()) > _MAX_DOMAIN:
        msg = "a value lies outside its domain"
        raise ValueError(msg)
    bits = np.frexp((domain - _ONE).astype(np.float64))[1].astype(np.uint64)
    low_bits = bits >> _ONE
    mask_low = (_ONE << low_bits) - _ONE
    mask_high = (_ONE << (bits - low_bits)) - _ONE
    round_keys = _mix_array(keys + _ROUND_STEPS)  # (rounds, values)
    out = _network(value, low_bits, mask_low, mask_high, round_keys, order)
    at = np.flatnonzero(out >= domain)
    while len(at) > _FEW:
        out[at] = _network(
            out[at], low_bits[at], mask_low[at], mask_high[at], round_keys[:, at], order
        )
        at = at[out[at] >= domain[at]]
    for i in at.tolist():
        out[i] = _walk_one(int(out[i]), int(domain[i]), round_keys[:, i].tolist(), order)
    return out.reshape(shape)


def _walk_one(value: int, domain: int, round_keys: list[int], order: range) -> int:
    """Walk one value that lies outside its domain to the first inside, as :func:`_walk` does."""
    bits = (domain - 1).bit_length()
    low_bits = bits >> 1
    mask_low, mask_high = (1 << low_bits) - 1, (1 << (bits - low_bits)) - 1
    while value >= domain:
        low, high = value & mask_low, value >> low_bits
        for r in order:
            if r % 2 == 0:
                high ^= mix(low ^ round_keys[r]) & mask_high
            else:
                low ^= mix(high ^ round_keys[r]) & mask_low
        value = high << low_bits | low
    return value


def _network(
    value: U64, low_bits: U64, mask_low: U64, mask_high: U64, round_keys: U64, order: range
) -> U64:
    low, high = value & mask_low, value >> low_bits
    for r in order:
        if r % 2 == 0:
            high = high ^ (_mix_array(low ^ round_keys[r]) & mask_high)
        else:
            low = low ^ (_mix_array(high ^ round_keys[r]) & mask_low)
    return np.asarray((high << low_bits) | low, np.uint64)


def _mix_array(value: U64) -> U64:
    z = value + _STEP  # new memory, which the rest is done in; wraps modulo 2**64, as in mix
    z ^= z >> _SHIFT_A
    z *= _FACTOR_A
    z ^= z >> _SHIFT_B
    z *= _FACTOR_B
    z ^= z >> _SHIFT_C
    return np.asarray(z, np.uint64)
