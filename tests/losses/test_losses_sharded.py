"""Classes spread over two gloo ranks give what one process gives."""

from pathlib import Path

import pytest
import torch
from support.sharded_head import CASES, ROWS, batch, make
from support.training import launch

from fusekit.errors import LossError

RANK = Path(__file__).parents[1] / "support" / "sharded_head.py"


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return launch(tmp_path_factory.mktemp("sharded"), RANK, "none")


def alone(case):
    embeddings, weight, labels, datasets = batch()
    head = make(case)
    start = head.weight.detach().clone()
    with torch.no_grad():
        head.weight.copy_(weight)
    embeddings.requires_grad_()
    extra = [datasets] if case == "merged" else []
    loss = head(embeddings, labels, *extra)
    loss.backward()
    rows = head.row_losses(embeddings, labels, *extra, step=0)
    return start, loss, embeddings.grad, head.weight.grad, rows


def near(found, wanted):
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float64), wanted.detach(), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_equal_one(ranks, case):
    start, loss, to_x, to_weight, rows = alone(case)
    at = 0
    for number, rank in enumerate(ranks):
        about = rank[case]
        near(about["start"], start)
        near(about["loss"], loss)
        near(about["rows"], rows)
        near(about["to_weight"], to_weight[number::2])
        near(about["centres"], batch()[1])
        # Times the ranks: a data-parallel backbone averages over them.
        near(about["to_x"], 2 * to_x[at : at + ROWS[number]])
        at += ROWS[number]


def test_all_ranks_refuse_what_one_was_given(ranks):
    for rank in ranks:
        assert "labels: row 3 has the label -1" in rank["refused"]


def test_each_rank_samples_its_own_classes(ranks):
    assert ranks[0]["sampled"][0] == ranks[1]["sampled"][0]
    for rank in ranks:
        assert 200 <= rank["sampled"][1] <= 250  # a tenth of 2,500


def test_a_group_before_torch_is_told_of_it_is_refused():
    with pytest.raises(LossError, match=r"group: is given before torch.distributed.init_process_"):
        make("arcface", group=object())
