"""Stores whose embeddings are given: people as directions, images as noise around them."""

import numpy as np
from support.stores import make_dataset

from fusekit.schema import MANIFEST_SCHEMA
from fusekit.storage.folder import Storage
from fusekit.store import layout
from fusekit.store.datasets import DatasetInfo, records
from fusekit.store.embeddings import EmbeddingModel, write_part
from fusekit.store.tables import read_table

MODEL = EmbeddingModel("drawn", "ab" * 32)
_COLUMNS = ["key", "identity", "identity_index", "dataset_index"]


def draw_people(count: int, dim: int = 64, seed: int = 0) -> np.ndarray:
    """Directions of people, (count, dim), far from each other as in a good model."""
    people = np.random.default_rng(seed).standard_normal((count, dim))
    return people / np.linalg.norm(people, axis=1, keepdims=True)


def draw_images(person: np.ndarray, count: int, seed: int, spread: float = 0.7) -> np.ndarray:
    """Raw model outputs of ``count`` images of one person, (count, dim), of any length."""
    rng = np.random.default_rng([seed, 99])
    noise = rng.standard_normal((count, len(person))) * spread / np.sqrt(len(person))
    return ((person + noise) * rng.uniform(5, 15, (count, 1))).astype(np.float32)


def embed_as(
    storage: Storage, info: DatasetInfo, outputs: np.ndarray, model: EmbeddingModel = MODEL
) -> None:
    """Write ``outputs[item]`` as the embedding of item number ``item`` of a drawn dataset."""
    for record in records(storage, info.name, info.units):
        part = layout.manifest_part(info.name, record.unit)
        table = read_table(storage, part, MANIFEST_SCHEMA, [*_COLUMNS, "source"])
        items = [
            int(source.rsplit("/", 1)[-1][:-4]) for source in table.column("source").to_pylist()
        ]
        chosen = outputs[items].reshape(len(items), outputs.shape[1])
        write_part(storage, info.name, record, model, table.select(_COLUMNS), chosen)


def make_people(
    storage: Storage,
    name: str,
    images: dict[str, np.ndarray] | np.ndarray,
    *,
    model: EmbeddingModel = MODEL,
    unit_size: int = 64,
) -> DatasetInfo:
    """Make a dataset with given embeddings.

    Args:
        images: Identity to its raw outputs (n, dim); or (n, dim) of unlabeled samples.
    """
    sizes = {k: len(v) for k, v in images.items()} if isinstance(images, dict) else len(images)
    outputs = np.concatenate(list(images.values())) if isinstance(images, dict) else images
    # No test that gives embeddings looks at the crops.
    crops = [b"no crop"] * len(outputs)
    info = make_dataset(storage, name, sizes, unit_size=unit_size, images=crops)
    embed_as(storage, info, outputs, model)
    return info
