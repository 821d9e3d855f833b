"""Truth files: what they say, and how a filter is judged by them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusekit.curate.truth import judge, read_truth
from fusekit.errors import UsageError


def test_every_spelling_of_yes_and_no_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbfnote,key,known\n,a,1\n,b,no\n,c,TRUE\n,d,0\n,e,yes\n")
    expected = {"a": True, "b": False, "c": True, "d": False, "e": True}
    assert read_truth(path) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,who\na,1\n", r"has the columns key, who; expected key and known"),
        ("", r"has the columns none; expected key and known"),
        ("key,known\na,1\nb,maybe\n", r"t\.csv:3: known is 'maybe'; expected 1 or 0"),
        ("key,known\na\n", r"t\.csv:2: known is None; expected 1 or 0"),
        ("key,known\na,1\na,0\n", r"t\.csv:3: a is both known and not; expected each key once"),
        ("key,known\n\xff", r"can't be read"),
    ],
)
def test_a_truth_file_that_can_not_be_is_refused(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UsageError, match=rf"--truth .*{message}"):
        read_truth(path)


def test_a_missing_truth_file_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"can't be read \(No such file or directory\); expected"):
        read_truth(tmp_path / "no.csv")


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([True, False, None])), min_size=1))
def test_recall_and_precision_are_those_of_counting(samples):
    keys = [str(i) for i in range(len(samples))]
    truth = {k: known for k, (_, known) in zip(keys, samples, strict=True) if known is not None}
    out = np.array([o for o, _ in samples])
    if not truth:
        with pytest.raises(UsageError, match=r"--truth: names no sample of the dataset"):
            judge(keys, out, truth)
        return
    got = judge(keys, out, truth)
    hit = sum(o and known is True for o, known in samples)
    wrong = sum(o and known is False for o, known in samples)
    known = sum(truth.values())
    assert (got.known, got.strangers) == (known, len(truth) - known)
    assert got.recall == (round(hit / known, 6) if known else None)
    assert got.precision == (round(hit / (hit + wrong), 6) if hit + wrong else None)
    assert got.strangers_kept == got.strangers - wrong
