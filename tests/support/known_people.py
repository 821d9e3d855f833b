"""Filter real people of whom it is known who they are: the trial behind a test and a benchmark."""

from pathlib import Path

import numpy as np
from support.lab import lab_crops
from support.people import make_people
from support.stores import make_dataset

from fusekit.curate.activations import filter_unlabeled
from fusekit.curate.embed import EmbedResult, embed_dataset
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import EmbeddingSet
from fusekit.store.findings import list_findings, read_finding_table
from fusekit.store.layout import open_store, sample_key

STRANGERS = 45


def embed_people(
    shared: Path, pack: str, model: str, folder: Path, per_person: int | None = None
) -> tuple[dict[str, np.ndarray], EmbedResult]:
    """Embed a pack of aligned crops through a store; give label to embeddings (n, D)."""
    crops = lab_crops(shared, pack, per_person)
    storage = open_store(folder, create=True)
    make_dataset(
        storage, "all", {label: len(images) for label, images in crops.items()}, unit_size=512,
        images=[image for images in crops.values() for image in images],
    )  # fmt: skip
    result = embed_dataset("all", model=model, store=folder)
    labels = sorted(crops)
    people: dict[str, list[np.ndarray]] = {}
    for block in EmbeddingSet.open(storage, open_dataset(storage, "all")).blocks():
        for index, vector in zip(block.identity_index.tolist(), block.vectors, strict=True):
            people.setdefault(labels[index], []).append(vector)
    return {label: np.stack(vectors) for label, vectors in people.items()}, result


def trial(people, known, strangers, rule, folder: Path, sets: int = 1, images: int | None = None):
    """Filter once.

    Args:
        people: Label to embeddings.
        known: Labels of known people: half their images are labeled, half unlabeled.
        strangers: Labels of people who are in the unlabeled set only.
        sets: How many datasets the known people are dealt to.
        images: Most labeled images of a person; None for half of all.

    Returns:
        The share of known people's images that is dropped, that of strangers', and the result.
    """
    storage = open_store(folder, create=True)
    crawl = [people[label][len(people[label]) // 2 :] for label in known]
    count = sum(map(len, crawl))
    crawl += [people[label] for label in strangers]
    make_people(storage, "crawl", np.concatenate(crawl), unit_size=4096)
    names = [f"known-{k}" for k in range(sets)]
    for k, name in enumerate(names):
        labeled = {
            label: people[label][: len(people[label]) // 2][:images] for label in known[k::sets]
        }
        make_people(storage, name, labeled, unit_size=4096)
    result = filter_unlabeled("crawl", against=names, rule=rule, store=folder)
    finding = next(f for f in list_findings(storage) if f.fingerprint == result.finding)
    table = read_finding_table(storage, finding)
    out = table.column("activation").to_numpy().astype(float) > result.threshold
    if result.cosine_threshold is not None:
        out &= table.column("cosine").to_numpy().astype(float) > result.cosine_threshold
    assert out.sum() == result.dropped
    item = {sample_key(f"crawl/{i:05d}.jpg", 0): i for i in range(table.num_rows)}
    of_known = np.array([item[key] for key in table.column("key").to_pylist()]) < count
    return out[of_known].mean(), out[~of_known].mean(), result
