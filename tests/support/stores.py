"""Small finished stores, made through the same commit path that ingest uses, without detection."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import simplejpeg

from fusekit.cards.card import CROP_SIZES
from fusekit.fingerprint import canonical_json, digest16, fingerprint
from fusekit.rng import permute
from fusekit.schema import IDENTITIES_SCHEMA, PLAN_PAIRS_SCHEMA, PLAN_SCHEMA
from fusekit.storage.folder import Storage
from fusekit.store import layout
from fusekit.store.commit import UnitWriter
from fusekit.store.datasets import DatasetInfo, claim_index, finish_dataset
from fusekit.store.protocol import keep_protocol, spool_protocol
from fusekit.store.tables import write_table


def draw_crop(seed: int) -> np.ndarray:
    """A 112x112 RGB crop that differs for each seed: a smooth random pattern."""
    return draw_sized_crop(seed, (112, 112))


def draw_sized_crop(seed: int, size: tuple[int, int]) -> np.ndarray:
    """The same pattern in another size, width and height."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    width, height = size
    across, down = (np.arange(side) * 7 // side for side in (width, height))
    return np.ascontiguousarray(coarse[down][:, across])


def make_dataset(
    storage: Storage,
    name: str,
    identities: dict[str, int] | int,
    *,
    kind: str = "labeled",
    index: int | None = None,
    unit_size: int = 16,
    template: str = "arcface-112",
    fmt: str = "jpg",
    seed: int = 0,
    names: dict[str, str] | None = None,
    images: Sequence[bytes] | None = None,
    protocol: Mapping[str, pa.Table] | None = None,
) -> DatasetInfo:
    """Commit a dataset of drawn crops.

    Args:
        storage: An opened store (open_store(path, create=True)).
        name: The dataset's name.
        identities: Identity to its number of images; or a count of unlabeled images.
        images: Encoded crops (as ``fmt`` says) in the order of the identities; None draws them.
        protocol: Tables of an evaluation set, such as :func:`pairs_table` makes; None: it has none.
    """
    index = claim_index(storage, name, index)
    crop_size = CROP_SIZES.get(template, (112, 112))
    if isinstance(identities, int):
        people: list[str | None] = [None] * identities
        kind = "unlabeled" if kind == "labeled" else kind
        numbers: dict[str, int] = {}
    else:
        people = [p for p, n in identities.items() for _ in range(n)]
        numbers = {p: i for i, p in enumerate(sorted(identities, key=str.encode))}
    units: dict[int, list[int]] = {}
    for item in range(len(people)):
        unit = int(permute(item, len(people), seed)) // unit_size
        units.setdefault(unit, []).append(item)
    for unit, items in units.items():
        plan_rows = [_plan_row(people[item], numbers, item) for item in items]
        write_table(storage, layout.plan_part(name, unit), plan_rows, PLAN_SCHEMA)
        with UnitWriter(storage, name, unit) as writer:
            for item in items:
                image = None if images is None else images[item]
                person = people[item]
                sample = _sample(
                    name, index, kind, person, numbers, item, fmt, seed, image, crop_size
                )
                writer.add(*sample)
            writer.commit(len(items))
    write_table(
        storage,
        layout.identities(name),
        [
            {"identity_index": i, "identity": p, "name": (names or {}).get(p)}
            for p, i in numbers.items()
        ],
        IDENTITIES_SCHEMA,
    )
    batches = {table: iter(rows.to_batches()) for table, rows in (protocol or {}).items()}
    with spool_protocol(storage, name, batches) as spool:
        keep_protocol(storage, name, spool)
    inputs = {
        "dataset": name, "seed": seed, "people": fingerprint(people),
        "items": {"count": len(people)}, "protocol": spool.digests,
    }  # fmt: skip
    plan = {"fingerprint": fingerprint(inputs), "units": len(units), "inputs": inputs}
    storage.write(layout.plan_json(name), canonical_json(plan))
    return finish_dataset(
        storage, name, units=len(units), index=index, kind=kind, template=template,
        crop_size=crop_size, identities=len(numbers), plan=plan["fingerprint"],
        form="drawn", card={"name": name}, settings={"seed": seed}, versions={}, ignored={},
    )  # fmt: skip


def pairs_table(
    pairs: Sequence[tuple[str, str, bool]], folds: int = 1, *, protocol: str = "all"
) -> pa.Table:
    """Pairs of sources as a reader gives them, in ``folds`` equal runs; ``all`` is the main one."""
    size = -(-len(pairs) // folds)
    rows = [
        {
            "protocol": protocol, "main": protocol == "all", "fold": i // size + 1, "same": same,
            "source_a": a, "source_b": b,
        }
        for i, (a, b, same) in enumerate(pairs)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PLAN_PAIRS_SCHEMA)


def _source(person: str | None, item: int) -> str:
    return f"{person or 'crawl'}/{item:05d}.jpg"


def _plan_row(person: str | None, numbers: dict[str, int], item: int) -> dict[str, Any]:
    return {
        "item": item, "source": _source(person, item), "size": 1000 + item, "identity": person,
        "identity_index": -1 if person is None else numbers[person], "split": None, "offset": 0,
        "bbox": None, "landmarks": None, "media": "still", "time_ms": None,
        "frame": None, "video": None, "url": None, "reject": None, "reject_detail": None,
    }  # fmt: skip


def _sample(
    name: str, index: int, kind: str, person: str | None, numbers: dict[str, int],
    item: int, fmt: str, seed: int, image: bytes | None, size: tuple[int, int],
) -> tuple[bytes, dict[str, Any]]:  # fmt: skip
    source = _source(person, item)
    if image is None:
        crop = draw_sized_crop(seed * 100_003 + item, size)
        image = simplejpeg.encode_jpeg(crop, quality=95, colorsubsampling="444")
    return image, {
        "key": layout.sample_key(source, 0), "dataset": name, "dataset_index": index,
        "kind": kind, "identity": person,
        "identity_index": -1 if person is None else numbers[person],
        "format": fmt, "width": size[0], "height": size[1], "source": source,
        "source_digest": digest16(image), "content_digest": digest16(image),
        "det_score": 0.5 + (item % 50) / 100, "bbox": [1.0, 2.0, 101.0, 102.0],
        "landmarks": [30.0, 40.0, 70.0, 40.0, 50.0, 60.0, 35.0, 80.0, 65.0, 80.0],
        "face_count": 1, "eye_distance": 40.0, "yaw": 0.0, "sharpness": 100.0,
        "brightness": 128.0, "jpeg_quality": 95, "channels": 3, "media": "still",
        "time_ms": None, "frame": None, "video": None, "split": None, "hint_iou": None,
        "url": None,
    }  # fmt: skip
