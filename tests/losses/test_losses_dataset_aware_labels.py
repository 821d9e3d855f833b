"""Which labels a head takes: its datasets', merged ones, and which pairs it lets be."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.head_losses import RANGES, check, make_batch, make_head, masked_losses

from fusekit.errors import LossError
from fusekit.losses import DatasetAwareHead
from fusekit.losses.class_sets import ClassSets, gather_rows, places

LISTS = [[0, 1, 2, 5], [1, 3, 5, 6], [2, 4, 6]]  # merged: 1, 2, 5 and 6 are in two datasets


@st.composite
def merged(draw):
    """Datasets that share classes, and a batch: a dataset and one of its classes a row."""
    lists = draw(
        st.lists(
            st.sets(st.integers(0, 12), min_size=1).map(sorted), min_size=1, max_size=4
        )
    )  # fmt: skip
    rows = draw(st.lists(st.integers(0, len(lists) - 1), min_size=1, max_size=8))
    labels = [draw(st.sampled_from(lists[k])) for k in rows]
    return lists, torch.tensor(rows), torch.tensor(labels)


def mask_of(lists, datasets, num_classes):
    allowed = torch.zeros(len(datasets), num_classes, dtype=torch.bool)
    for row, k in enumerate(datasets.tolist()):
        allowed[row, lists[k]] = True
    return allowed


@given(merged(), st.integers(0, 10**6))
def test_merged_labels_meet_the_classes_of_their_rows_dataset(batch, seed):
    lists, datasets, labels = batch
    classes = 1 + max(each[-1] for each in lists)
    embeddings, weight, _ = make_batch([(0, classes)], len(labels), 4, seed, torch.float64)
    head = make_head(weight, None, dataset_classes=lists)
    allowed = mask_of(lists, datasets, classes)
    wanted = masked_losses(embeddings, weight, labels, allowed)
    check(
        head, embeddings, labels, wanted, (embeddings, weight), tolerance=1e-6,
        dataset_index=datasets,
    )  # fmt: skip


def test_ranges_may_overlap_as_those_of_two_merged_datasets_do():
    ranges = [(0, 5), (3, 8)]
    embeddings, weight, _ = make_batch([(0, 8)], 4, 4, 0, torch.float64)
    labels, datasets = torch.tensor([0, 3, 4, 7]), torch.tensor([0, 0, 1, 1])
    head = make_head(weight, ranges)
    allowed = mask_of([range(5), range(3, 8)], datasets, 8)
    wanted = masked_losses(embeddings, weight, labels, allowed)
    check(
        head, embeddings, labels, wanted, (embeddings, weight), tolerance=1e-6,
        dataset_index=datasets,
    )  # fmt: skip
    with pytest.raises(LossError, match="labels: row 1 has the class 3, which several datasets"):
        head(embeddings, labels)


@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 10)).filter(lambda p: p[0] != p[1])),
    st.sampled_from([0.0, 1.0]), st.integers(0, 10**6),
)  # fmt: skip
def test_pairs_that_do_not_repel_are_masked(pairs, crossing_p, seed):
    embeddings, weight, labels = make_batch(RANGES, 9, 4, seed, torch.float64)
    head = make_head(weight, crossing_p=crossing_p, do_not_repel=pairs)
    sets = [range(*each) for each in (RANGES if crossing_p == 0 else [(0, 11)])]
    datasets = torch.tensor(
        [next(k for k, own in enumerate(sets) if y in own) for y in labels.tolist()]
    )
    allowed = mask_of(sets, datasets, 11)
    for a, b in pairs:
        allowed[labels == a, b] = allowed[labels == b, a] = False
    wanted = masked_losses(embeddings, weight, labels, allowed)
    check(head, embeddings, labels, wanted, (embeddings, weight), tolerance=1e-6)


def test_crossing_lets_pairs_be_too():
    embeddings, weight, _ = make_batch(RANGES, 4, 4, 1, torch.float64)
    labels = torch.tensor([0, 0, 6, 6])
    head = make_head(weight, crossing_expected=100, do_not_repel=[(0, 6), (6, 4)])
    allowed = torch.ones(4, 11, dtype=torch.bool)
    allowed[:2, 6] = allowed[2:, 0] = allowed[2:, 4] = False
    wanted = masked_losses(embeddings, weight, labels, allowed)
    check(head, embeddings, labels, wanted, (embeddings, weight), tolerance=1e-6)


@pytest.mark.parametrize(
    ("labels", "datasets", "message"),
    [
        ([0, -1], None, r"labels: row 1 has the label -1; expected 0 to 12; unlabeled rows have no "
                        r"class: give the head embeddings\[:batch.n_labeled\]"),
        ([0, 13], None, "labels: row 1 has the label 13; expected 0 to 12$"),
        ([-2, 0], None, "labels: row 0 has the label -2; expected 0 to 12$"),
        ([0, 5], None, "row 1 has the class 5, which is absent: no dataset has it"),
        ([0, 7], [0, 0], "labels: row 1 has the class 7, which its dataset 0 does not have"),
        ([0, 7], [0, 2], "dataset_index: row 1 is of dataset 2; expected 0 to 1"),
        ([0, 7], [0, -1], "dataset_index: row 1 is of dataset -1; expected 0 to 1"),
        ([0, 7], [0], r"dataset_index: has the shape \(1,\); expected the labels' \(2,\)"),
        ([0.0, 7.0], None, r"labels: are float32 of the shape \(2,\); expected integers"),
        ([[0, 7]], None, r"embeddings: are float32 of the shape \(2, 4\); expected floats of the"),
        ([0], None, r"embeddings: .* expected floats of the shape \(1, 4\): one row a label"),
    ],
)  # fmt: skip
def test_labels_that_have_no_loss_are_refused_by_one_line(labels, datasets, message):
    head = DatasetAwareHead([(0, 5), (6, 13)], 4)
    given_too = {} if datasets is None else {"dataset_index": torch.tensor(datasets)}
    with pytest.raises(LossError, match=message):
        head(torch.zeros(2, 4), torch.tensor(labels), **given_too)


def test_labels_of_another_merged_dataset_are_refused():
    head = DatasetAwareHead(None, 4, dataset_classes=LISTS)
    with pytest.raises(LossError, match="row 1 has the class 0, which its dataset 1 does not"):
        head(torch.zeros(2, 4), torch.tensor([1, 0]), torch.tensor([1, 1]))
    with pytest.raises(LossError, match="row 0 has the class 1, which several datasets have; give"):
        head(torch.zeros(1, 4), torch.tensor([1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "class_ranges: and dataset_classes: one of the two"),
        ({"class_ranges": [(0, 2)], "dataset_classes": [[0]]}, "one of the two"),
        ({"class_ranges": [(0, 2, 3)]}, r"have the shape \(1, 3\); expected integers of the shape"),
        ({"class_ranges": [(2, 2)]}, r"dataset 0 has the range \(2, 2\); expected a first class"),
        ({"class_ranges": [(0, 2), (-1, 4)]}, r"dataset 1 has the range \(-1, 4\)"),
        ({"dataset_classes": []}, "dataset_classes: has no dataset"),
        ({"dataset_classes": [[0], []]}, "those of dataset 1 are no list of classes; expected asc"),
        ({"dataset_classes": [[0, 0]]}, "those of dataset 0 are no list"),
        ({"dataset_classes": [[-1, 0]]}, "Mixture.dataset_classes gives them"),
    ],
)
def test_sets_that_are_none_are_refused(arguments, message):
    with pytest.raises(LossError, match=message):
        ClassSets(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"do_not_repel": [(0, 1, 2)]}, r"do_not_repel: has the shape \(1, 3\)"),
        (
            {"do_not_repel": [(0, 1), (2, 2)]},
            r"has the pair \(2, 2\); expected two different class",
        ),
        ({"do_not_repel": [(0, 11)]}, r"has the pair \(0, 11\); expected .* of 0 to 10"),
        ({"sample_rate": 0}, "sample_rate: is 0; expected above 0 and up to 1"),
        ({"embedding_dim": 0}, "embedding_dim: is 0; expected 1 or more"),
        ({"scale": -1}, "scale: is -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, message):
    with pytest.raises(LossError, match=message):
        DatasetAwareHead(RANGES, **({"embedding_dim": 4} | options))


@given(merged())
def test_the_classes_outside_are_all_that_are_not_inside(batch):
    sets = ClassSets(dataset_classes=batch[0])
    for k, own in enumerate(batch[0]):
        others = sorted(set(range(sets.num_classes)) - set(own))
        assert sets.outside(k, np.arange(len(others))).tolist() == others


@given(merged(), st.integers(1, 4))
def test_every_class_is_a_row_of_one_rank(batch, world_size):
    for sets in (ClassSets(dataset_classes=batch[0]), ClassSets([(0, 4), (4, 5), (7, 12)])):
        for k, own in enumerate(sets.sets):
            found = [
                (int(row) * world_size + rank)
                for rank in range(world_size)
                for row in sets.local_rows(k, rank, world_size)
            ]
            assert sorted(found) == list(own)


def test_rows_of_disjoint_ranges_are_not_copied():
    weight = torch.arange(24.0).reshape(12, 2)
    same, slices = gather_rows(weight, [range(5, 9), range(5), range(3, 3)])
    assert same is not weight or slices == [slice(5, 9), slice(0, 5), slice(3, 3)]
    same, slices = gather_rows(weight, [range(5, 9), range(5)])
    assert same is weight
    copied, slices = gather_rows(weight, [range(5), range(3, 7), np.array([1, 11])])
    assert [copied[at][:, 0].tolist() for at in slices] == [
        [0, 2, 4, 6, 8], [6, 8, 10, 12], [2, 22],
    ]  # fmt: skip


def test_places_of_nothing_are_nowhere():
    assert places(np.array([], np.int64), np.array([0, 3])).tolist() == [-1, -1]
