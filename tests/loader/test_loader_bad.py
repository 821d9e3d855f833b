"""How many samples may give no pixels before a loader stops, and what it says then."""

import re
from functools import partial
from itertools import accumulate, count, islice

import numpy as np
import pytest
from support.mixtures import hand_made

from fusekit.errors import LoaderError
from fusekit.loader import loader as under_test

MixtureLoader = partial(
    under_test.MixtureLoader, arrays="numpy", augment="none", layout="hwc", prefetch=2
)


@pytest.fixture
def mixture(tmp_path):
    return hand_made(tmp_path, (40, 13), (9,))


def endless(loader):
    while True:
        yield from loader


def run(loader, steps=10**4):
    for _ in islice(endless(loader), steps):
        pass


def planned(loader, bad):
    """How many bad rows each step is planned to have."""
    return (int(np.isin(loader.plan(step).rows, bad).sum()) for step in count())


def test_by_default_a_hundredth_of_ten_thousand_samples_may_be_bad(mixture):
    for row in (3, 7):
        mixture.spoil(row)
    with MixtureLoader(mixture, 8) as loader:
        with pytest.raises(LoaderError) as error:
            run(loader)
        counts = accumulate(planned(loader, (3, 7)))
        step, total = next((step, found) for step, found in enumerate(counts) if found > 100)
        assert loader.step == step
    listed = re.fullmatch(
        rf"hand-made: {total} of {8 * (step + 1)} samples give no pixels: (.*); expected at most "
        r"0\.01 of them; fusekit verify names every file that is damaged; max_bad allows more",
        str(error.value),
    )
    assert listed
    keys = {mixture.key(3), mixture.key(7)}
    assert {each.split()[0] for each in listed[1].split(", ")} == keys
    assert listed[1].count("(undecodable)") == 100


def test_a_share_under_the_bound_goes_on_and_one_above_it_stops(mixture, monkeypatch):
    monkeypatch.setattr(under_test, "_FEWEST", 200)
    mixture.spoil(3)  # one of the 53 labeled rows, so one of 71 samples: 0.0142
    with MixtureLoader(mixture, 62, max_bad=0.02) as loader:
        run(loader, 40)
        assert 30 < loader.report().stood_in < 0.02 * 40 * 62
    with MixtureLoader(mixture, 62, max_bad=0.01) as loader:
        with pytest.raises(LoaderError, match=r"give no pixels: .* at most 0\.01 of them"):
            run(loader, 40)
        assert loader.step < 10


def test_without_a_tolerance_it_stops_at_the_first(mixture):
    mixture.spoil(3)
    with MixtureLoader(mixture, 8, max_bad=0) as loader:
        with pytest.raises(LoaderError) as error:
            run(loader)
        assert 3 in loader.plan(loader.step).rows
        assert all(3 not in loader.plan(step).rows for step in range(loader.step))
        samples = 8 * (loader.step + 1)
    assert str(error.value) == (
        f"hand-made: 1 of {samples} samples give no pixels: {mixture.key(3)} (undecodable); "
        "expected at most 0 of them; fusekit verify names every file that is damaged; "
        "max_bad allows more"
    )


def test_sound_samples_never_stop_it(mixture):
    with MixtureLoader(mixture, 8, max_bad=0) as loader:
        run(loader, 40)
        assert loader.report().stood_in == 0


def test_erased_samples_are_stood_in_for_and_not_held_against_it(mixture):
    for row in range(30):
        mixture.index.length[row] = 0
    with MixtureLoader(mixture, 8, max_bad=0) as loader:
        run(loader, 50)
        report = loader.report()
        assert report.reasons.keys() == {"erased"}
        assert report.stood_in > 100


def test_the_list_names_what_is_damaged_however_many_are_erased(mixture):
    for row in range(30):
        mixture.index.length[row] = 0
    with MixtureLoader(mixture, 8, max_bad=0) as loader:
        run(loader, 50)
        assert len(loader.report().bad) == 100
        mixture.spoil(35)
        with pytest.raises(LoaderError, match=rf"no pixels: {mixture.key(35)} \(undecodable\); "):
            run(loader)
        # The batch that it stopped at was not handed out.
        assert loader.report().reasons.keys() == {"erased"}


def test_a_run_that_was_stopped_goes_on_from_the_same_step_with_a_larger_tolerance(mixture):
    mixture.spoil(3)
    with MixtureLoader(mixture, 8, max_bad=1) as loader:
        wanted = [batch.rows.tolist() for batch in islice(endless(loader), 30)]
    seen = []
    with MixtureLoader(mixture, 8, max_bad=0) as loader:
        with pytest.raises(LoaderError, match="give no pixels"):
            seen.extend(batch.rows.tolist() for batch in endless(loader))
        state = loader.state_dict()
        assert state["step"] == len(seen)
        with pytest.raises(LoaderError, match="give no pixels"):  # the bound still holds
            next(iter(loader))
        assert loader.step == len(seen)
    with MixtureLoader(mixture, 8, max_bad=1) as loader:
        loader.load_state_dict(state)
        seen += [batch.rows.tolist() for batch in islice(endless(loader), 30 - len(seen))]
    assert seen == wanted


def test_a_batch_that_is_made_again_after_a_jump_is_counted_as_often_as_it_is_given(mixture):
    mixture.spoil(3)
    with MixtureLoader(mixture, 62, max_bad=1) as loader:
        for _ in range(5):
            loader.set_epoch(0)
            run(loader, 1)
        report = loader.report()
        expected = 5 * int((loader.plan(0).rows == 3).sum())
    assert (report.batches, report.samples, report.stood_in) == (5, 310, expected)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "0.1", None, True])
def test_what_is_no_share_says_so(mixture, share):
    with pytest.raises(LoaderError) as error:
        MixtureLoader(mixture, 8, max_bad=share)
    assert str(error.value) == f"max_bad: is {share!r}; expected a share from 0 to 1"
