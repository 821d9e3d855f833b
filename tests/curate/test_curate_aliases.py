"""Other names of people, as a file."""

import pytest

from fusekit.curate.aliases import read_aliases
from fusekit.errors import UsageError


def written(folder, text, **how):
    path = folder / "people.csv"
    path.write_text(text, **how)
    return path


def test_each_line_is_another_name_of_somebody(tmp_path):
    path = written(
        tmp_path, "name,alias,since\nLady Gaga,Stefani Germanotta,2005\nCher,Cherilyn Sarkisian,",
        encoding="utf-8-sig",
    )  # fmt: skip
    assert read_aliases(path) == {
        "Stefani Germanotta": "Lady Gaga", "Cherilyn Sarkisian": "Cher"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "has the columns a, b; expected alias and name"),
        ("", "has the columns none; expected alias and name"),
        ("alias,name\nCher,n000104\n", r":2: 'Cher', 'n000104' are no two names"),
        ("alias,name\nCher\n", r":2: 'Cher', None are no two names"),
        (
            "alias,name\nPrince,Roger Nelson\nPrince,Prince Charles\n",
            r":3: 'Prince' stands for 'Roger Nelson' already",
        ),
    ],
)
def test_what_is_no_table_of_names_says_so(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_aliases(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"--aliases .*people\.csv: can't be read"):
        read_aliases(tmp_path / "people.csv")
