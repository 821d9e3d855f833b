"""Two processes with gloo: what each rank sees, and how the run goes on with one."""

import pytest
from support.training import launch, planned, small_mixture
from torch import distributed
from trainers.ddp_rank import run

pytestmark = pytest.mark.slow
STEPS = 9  # 16 a step, 12 of them labeled: epochs of four steps


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return small_mixture(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ddp")


@pytest.fixture(scope="module")
def ranks(path, folder):
    return launch(folder, "ddp_rank.py", path)


def rows(about):
    return {int(step): rows for step, (rows, _) in about["seen"].items()}


def together(parts, step):
    return sorted(row for part in parts for row in rows(part)[step])


def test_ranks_are_disjoint_full_and_as_many_steps_each(ranks):
    a, b = (rows(rank["whole"]) for rank in ranks)
    assert list(a) == list(b) == list(range(STEPS))
    for step in range(STEPS):
        assert len(a[step]) == len(b[step]) == 8
        assert not set(a[step]) & set(b[step])
    labeled = [row for step in range(4) for row in a[step] + b[step] if row < 48]
    assert sorted(labeled) == list(range(48))  # an epoch has each once


def test_the_share_is_exact_on_each_rank(ranks):
    for rank in ranks:
        for seen, n in rank["whole"]["seen"].values():
            assert n == sum(row < 48 for row in seen) == 6


def test_gradients_are_averaged_so_ranks_keep_one_network(ranks):
    for name in ("whole", "first", "rest"):
        a, b = (rank[name] for rank in ranks)
        assert a["weights"] == b["weights"]
        assert a["losses"] != b["losses"]


def test_a_resumed_run_has_the_losses_of_one_that_never_stopped(ranks):
    for rank in ranks:
        assert list(rank["rest"]["losses"]) == [str(step) for step in range(5, STEPS)]
        assert rank["first"]["losses"] | rank["rest"]["losses"] == rank["whole"]["losses"]
        assert rank["rest"]["weights"] == rank["whole"]["weights"]


def test_one_rank_goes_on_with_the_global_steps_of_two(path, folder, ranks):
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        alone = run(path, folder / "at-five", STEPS)
    finally:
        distributed.destroy_process_group()
    assert list(alone["seen"]) == list(range(5, STEPS))
    steps = [together([rank["first"] for rank in ranks], step) for step in range(5)]
    steps += [together([alone], step) for step in range(5, STEPS)]
    assert steps == [sorted(step) for step in planned(path, STEPS, 16)]
    # Two halves, averaged, are the whole: the same training but for rounding.
    assert alone["weights"] == pytest.approx(ranks[0]["rest"]["weights"], abs=1e-5)


def test_a_dataset_takes_its_rank_from_the_process_group(path, ranks):
    for number, rank in enumerate(ranks):
        assert rank["dataset"] == [number, 2, planned(path, 1, 8, number, 2)[0]]


def test_accelerate_leaves_the_ranks_batches_as_planned(path, tmp_path):
    for number, rank in enumerate(launch(tmp_path, "accelerate_rank.py", path)):
        wanted = planned(path, 9, 8, number, 2)
        assert list(rank["first"].values()) == wanted[:7]
        assert list(rank["rest"].values()) == wanted[6:]  # saved at step 6
        assert rank["plain"] == wanted[:4]
        # What the page warns of: a prepared loader gives no rank its batches; it raises.
        assert rank["prepared"] != wanted[:4]
