"""Contact sheets of crops of any size."""

import numpy as np
import pytest

from fusekit.report.contact_sheet import Tile, draw_contact_sheet


def tile(width, height, group=0):
    return Tile(np.full((height, width, 3), 9, np.uint8), "title", "note", group)


@pytest.mark.parametrize("size", [(112, 112), (96, 112), (150, 150)])
def test_every_crop_is_shown_whole(size):
    sheet = draw_contact_sheet([tile(*size)] * 5, "heading", columns=3)
    assert (sheet == 9).all(axis=2).sum() == 5 * size[0] * size[1]


def test_crops_of_several_sizes_share_a_sheet():
    sizes = [(96, 112), (112, 112), (150, 150), (30, 40)]
    sheet = draw_contact_sheet([tile(*size, group) for group, size in enumerate(sizes)], "", 2)
    assert (sheet == 9).all(axis=2).sum() == sum(width * height for width, height in sizes)


def test_a_sheet_of_nothing_is_its_heading():
    assert draw_contact_sheet([], "nobody").shape[1] == 8 * (112 + 20)
