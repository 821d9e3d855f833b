"""Many keys of a mixture at once, whatever batches they lie in."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.mixture import index
from fusekit.mixture.index import key_at, keys_at

ROWS = 25


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.arrow"
    schema = pa.schema([pa.field("key", pa.string(), nullable=False)])
    with pa.ipc.new_file(path, schema) as out:
        for start in range(0, ROWS, 4):
            names = [f"key{row}" for row in range(start, min(start + 4, ROWS))]
            out.write_batch(pa.record_batch([pa.array(names)], schema=schema))
    return index.open_keys(path)


@given(rows=st.lists(st.integers(0, ROWS - 1), max_size=30))
def test_many_keys_are_those_of_each_row(keys, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "KEY_BATCH", 4)
        assert keys_at(keys, np.array(rows, np.int32)) == [key_at(keys, row) for row in rows]
