"""Which embeddings a comparison takes."""

import numpy as np
import pytest
from support.people import make_people

from fusekit.curate.embeddings import open_embeddings
from fusekit.errors import ModelError
from fusekit.progress import silent
from fusekit.store.datasets import open_dataset
from fusekit.store.embeddings import embedding_models
from fusekit.store.layout import open_store


@pytest.fixture
def storage(tmp_path):
    storage = open_store(tmp_path / "s", create=True)
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        make_people(storage, name, {"ann": rng.normal(size=(3, 8)), "bob": rng.normal(size=(2, 8))})
    return storage


def opened(storage, wanted):
    infos = [open_dataset(storage, name) for name in ("a", "b")]
    return [each.model for each in open_embeddings(storage, infos, wanted, None, silent)]


def test_embeddings_that_stand_are_taken_by_the_name_that_embed_printed(storage):
    [model] = embedding_models(storage, "a")
    assert opened(storage, None) == [model, model]
    assert opened(storage, model.name) == [model, model]
    assert opened(storage, model.folder) == [model, model]


def test_a_name_that_neither_stands_nor_is_known_is_refused(storage):
    with pytest.raises(ModelError, match="nobody: no model of this name; expected one of"):
        opened(storage, "nobody")
