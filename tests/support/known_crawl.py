"""Real known people in a crawl of real strangers, with the truth of every sample."""

from pathlib import Path

import numpy as np
from support.people import make_people

from fusekit.schema import IDENTITIES_SCHEMA
from fusekit.storage.folder import Storage
from fusekit.store import layout
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.layout import open_store, sample_key
from fusekit.store.tables import read_table

IN_BOTH = {"07232"}  # CelebA's number of Neil Patrick Harris, whom Pins has too


def people_of(store: Storage, name: str) -> dict[str, np.ndarray]:
    """Give display name to embeddings (n, D)."""
    names = read_table(store, layout.identities(name), IDENTITIES_SCHEMA).to_pylist()
    by_index = {row["identity_index"]: row["name"] for row in names}
    people = {}
    for block in EmbeddingSet.open(store, open_dataset(store, name)).blocks():
        for index, vector in zip(block.identity_index.tolist(), block.vectors, strict=True):
            people.setdefault(by_index[index], []).append(vector)
    return {name: np.stack(vectors) for name, vectors in people.items()}


def make_known_crawl(real_store: Path, folder: Path) -> tuple[Path, Path]:
    """Make a store with ``known``, half of Pins, and ``crawl``: the other half among CelebA.

    Returns:
        The store, and a CSV file that says of each sample of the crawl whether it is known.
    """
    real = open_store(real_store)
    pins, celeba = people_of(real, "pins"), people_of(real, "celeba")
    storage = open_store(folder / "known-crawl", create=True)
    labeled = {name: vectors[::2] for name, vectors in pins.items()}
    make_people(storage, "known", labeled, unit_size=8192)
    known = [vectors[1::2] for vectors in pins.values()]
    assert set(celeba) > IN_BOTH
    strangers = [vectors for name, vectors in celeba.items() if name not in IN_BOTH]
    make_people(storage, "crawl", np.concatenate(known + strangers), unit_size=8192)
    count = sum(map(len, known))
    lines = [
        f"{sample_key(f'crawl/{i:05d}.jpg', 0)},{int(i < count)}"
        for i in range(count + sum(map(len, strangers)))
    ]
    truth = folder / "truth.csv"
    truth.write_text("\n".join(["key,known", *lines]))
    return Path(storage.root), truth
