"""Evaluation sets whose crops carry their embedding: 7x7 squares that a reader averages."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from support.stores import make_dataset

from fusekit.faces.image import encode_crop
from fusekit.schema import PLAN_PAIRS_SCHEMA
from fusekit.storage.folder import Storage
from fusekit.store.datasets import DatasetInfo

CODE = 147
_SIDE = 7


def code_crop(code: np.ndarray) -> np.ndarray:
    """A crop that reads back as the code, rounded to 1/100."""
    squares = np.clip(np.rint(128 + 100 * code), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(squares.reshape(_SIDE, _SIDE, 3).repeat(16, 0).repeat(16, 1))


def read_codes(crops: np.ndarray) -> np.ndarray:
    """The "model": uint8 (N, 112, 112, 3) to float32 (N, 147)."""
    assert crops.dtype == np.uint8
    assert crops.shape[1:] == (112, 112, 3)
    squares = crops.reshape(len(crops), _SIDE, 16, _SIDE, 16, 3).astype(np.float32).mean((2, 4))
    return (squares.reshape(len(crops), CODE) - 128) / 100


def draw_codes(people: int, images: int, spread: float = 0.3, seed: int = 0) -> np.ndarray:
    """Codes of people's images, people by people: (people * images, 147), as they read back."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-0.6, 0.6, (people, CODE))
    codes = np.repeat(centres, images, 0) + spread * rng.normal(size=(people * images, CODE))
    return read_codes(np.stack([code_crop(code) for code in codes]))


def make_coded_set(
    storage: Storage, name: str, people: int, images: int, *, protocol=None, spread: float = 0.3,
    seed: int = 0, unit_size: int = 64, kind: str = "evaluation",
) -> tuple[DatasetInfo, np.ndarray]:  # fmt: skip
    """Commit a set and give its codes in the order of its sources; see :func:`source`."""
    codes = draw_codes(people, images, spread, seed)
    info = make_dataset(
        storage, name, {f"p{i:03d}": images for i in range(people)}, kind=kind, fmt="png",
        unit_size=unit_size, images=[encode_crop(code_crop(code), "png") for code in codes],
        protocol=protocol, seed=seed,
    )  # fmt: skip
    return info, codes


def source(item: int, images: int) -> str:
    """The source of a set's item."""
    return f"p{item // images:03d}/{item:05d}.jpg"


def draw_pairs(people: int, images: int, count: int, folds: int, seed: int = 0) -> np.ndarray:
    """Pairs of items, half of one person: (count, 3) of fold, first and second item."""
    rng = np.random.default_rng(seed)
    rows = []
    for at in range(count):
        person = rng.integers(people)
        first, second = rng.choice(images, 2, replace=False) if images > 1 else (0, 0)
        other = person if at % 2 else (person + rng.integers(1, people)) % people
        rows.append((1 + at * folds // count, person * images + first, other * images + second))
    return np.array(rows)


def pairs_of(rows: Sequence, images: int, protocol: str = "all", *, main: bool = True) -> pa.Table:
    """The table of drawn pairs; an item of -1 gave no sample."""
    return pa.Table.from_pylist(
        [
            {
                "protocol": protocol, "main": main, "fold": int(fold),
                "same": a // images == b // images,
                "source_a": source(a, images), "source_b": source(b, images),
            }
            for fold, a, b in rows
        ],
        schema=PLAN_PAIRS_SCHEMA,
    )  # fmt: skip


def lose(table: pa.Table, rows: Sequence[int]) -> pa.Table:
    """Let the second item of some pairs be one that gave no sample."""
    listed = table.to_pylist()
    for row in rows:
        listed[row]["source_b"] = f"gone/{row}.jpg"
    return pa.Table.from_pylist(listed, schema=table.schema)
