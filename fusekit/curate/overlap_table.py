"""The rows of an overlap: pairs of identities with their evidence, and the people they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fusekit.schema import OVERLAP_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fusekit.curate.gallery import Gallery
    from fusekit.curate.identity_pairs import IdentityPairs
    from fusekit.curate.people_clusters import People

ORDER: Final = ("same", "unsure", "different")
_EVIDENCE: Final = (
    "score", "votes", "compared", "margin", "name_match", "false_match", "decision", "cluster",
)  # fmt: skip
_ROWS_AT_ONCE: Final = 8_192


def tabulate(
    galleries: Mapping[str, Gallery],
    found: Mapping[tuple[str, str], IdentityPairs],
    people: People,
) -> pa.Table:
    """Write pairs as rows; one that the others contradict has no cluster and is unsure.

    Args:
        galleries: By dataset.
        found: The pairs of each two datasets.
        people: The pairs that are the same, joined.

    Returns:
        By :data:`fusekit.schema.OVERLAP_SCHEMA`, in the order of ``found``.
    """
    parts = [OVERLAP_SCHEMA.empty_table()]
    for (a, b), pairs in found.items():
        clusters = _clusters(pairs, a, b, people)
        decisions = np.array(pairs.decision, dtype=object)
        decisions[(decisions == "same") & (clusters < 0)] = "unsure"
        columns = [
            *_identity_columns(galleries[a], a, pairs.left),
            *_identity_columns(galleries[b], b, pairs.right),
            pa.array(pairs.score),
            pa.array(pairs.votes),
            pa.array(pairs.compared),
            pa.array(pairs.margin, from_pandas=True),  # NaN: nobody else
            pa.array(pairs.name_match, pa.bool_()),
            pa.array(pairs.false_match),
            pa.array(decisions, pa.string()),
            pa.array(clusters),
        ]
        parts.append(pa.Table.from_arrays(columns, schema=OVERLAP_SCHEMA))
    return pa.concat_tables(parts)


def turn_rows(table: pa.Table, datasets: Sequence[str]) -> pa.Table:
    """Turn each row so that its first dataset is the one named first; the surest rows first.

    Args:
        table: From :func:`tabulate`.
        datasets: As they were named.
    """
    named = pa.array(datasets, pa.string())
    turns = [pc.index_in(table[f"dataset_{side}"], named) for side in "ab"]
    turned = pc.greater(*turns)
    columns = []
    for name in OVERLAP_SCHEMA.names:
        other = {"_a": "_b", "_b": "_a"}.get(name[-2:])
        column = table[name]
        if other is not None:
            column = pc.if_else(turned, table[name[:-2] + other], column)
        columns.append(column)
    rank = pc.index_in(table["decision"], pa.array(ORDER)).to_numpy()
    order = np.lexsort((-table["score"].to_numpy(), rank))  # stable: equal ones stay in order
    return pa.Table.from_arrays(columns, schema=OVERLAP_SCHEMA).take(order)


def listed_names(
    galleries: Mapping[str, Gallery], found: Mapping[tuple[str, str], IdentityPairs]
) -> dict[tuple[str, str], str]:
    """Give dataset and identity of those in pairs to their display name, where there is one."""
    names = {}
    for (a, b), pairs in found.items():
        for dataset, index in ((a, pairs.left), (b, pairs.right)):
            people = galleries[dataset].templates
            for number in np.unique(index).tolist():
                name = people.names[number]
                if name is not None:
                    names[dataset, people.identities[number]] = name
    return names


def pair_objects(table: pa.Table, names: Mapping[tuple[str, str], str]) -> Iterator[dict[str, Any]]:
    """Give rows as the objects that ``fusekit overlap --json`` prints.

    Args:
        table: From :func:`turn_rows`.
        names: From :func:`listed_names`.
    """
    for batch in table.to_batches(_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            a, b = ((row[f"dataset_{side}"], row[f"identity_{side}"]) for side in "ab")
            yield {
                "a": {"dataset": a[0], "identity": a[1]},
                "b": {"dataset": b[0], "identity": b[1]},
                "name_a": names.get(a),
                "name_b": names.get(b),
                **{name: row[name] for name in _EVIDENCE},
            }


def _clusters(pairs: IdentityPairs, a: str, b: str, people: People) -> Any:  # noqa: ANN401
    """Give the person that each pair shows: -1 when it is not the same or not followed: (P,)."""
    clusters = np.full(len(pairs.decision), -1, np.int32)
    same = [at for at, decision in enumerate(pairs.decision) if decision == "same"]
    for at in same:
        one = people.cluster_of.get((a, int(pairs.left[at])), -1)
        if one == people.cluster_of.get((b, int(pairs.right[at])), -2):
            clusters[at] = one
    return clusters


def _identity_columns(gallery: Gallery, dataset: str, index: Any) -> list[pa.Array]:  # noqa: ANN401
    identities = pa.array(gallery.templates.identities, pa.string())
    return [
        pa.repeat(pa.scalar(dataset), len(index)), identities.take(pa.array(index)),
        pa.array(index, pa.int32()),
    ]  # fmt: skip
