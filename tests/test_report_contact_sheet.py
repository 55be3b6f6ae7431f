"""Sheets of labeled pictures."""

import numpy as np
import pytest

from jaxnst.report.contact_sheet import GAP, contact_sheet

RED = np.broadcast_to(np.float32([1, 0, 0]), (40, 60, 3))
BLUE = np.broadcast_to(np.float32([0, 0, 1]), (20, 20, 3))


def test_pictures_stand_in_rows_under_their_labels_at_one_height():
    sheet = contact_sheet([[("red", RED), ("blue", BLUE)], [("red again", RED)]], height=40)
    assert sheet.dtype == np.float32 and sheet.min() >= 0 and sheet.max() <= 1
    assert sheet.shape[1] == 60 + GAP + 40
    step = (sheet.shape[0] + GAP) // 2
    label = step - GAP - 40
    np.testing.assert_array_equal(sheet[label : label + 40, :60], RED)
    np.testing.assert_allclose(
        sheet[label : label + 40, 60 + GAP :], np.broadcast_to([0, 0, 1], (40, 40, 3)), atol=1e-6
    )
    np.testing.assert_array_equal(sheet[step + label : step + label + 40, :60], RED)
    for corner in (sheet[:label, :60], sheet[step : step + label, :60]):
        assert corner.min() < 0.5 and corner.mean() > 0.7  # dark letters on white
    np.testing.assert_array_equal(sheet[step + label :, 60 + GAP :], 1)


def test_a_label_may_have_lines_and_never_leaves_its_picture():
    one = contact_sheet([[("a", RED)]], height=40)
    two = contact_sheet([[("a\nb", RED)]], height=40)
    assert two.shape[0] > one.shape[0]
    long = contact_sheet([[("a name much too long for it", BLUE), ("", BLUE)]], height=20)
    np.testing.assert_array_equal(long[:-20, 20 + GAP :], 1)


def test_a_line_that_is_too_long_is_broken_after_a_comma():
    labels = "seed 1,\nseed 2", "seed 1,seed 2"  # as wide as the picture, and twice as wide
    broken, long = (contact_sheet([[(label, RED)]], height=40) for label in labels)
    np.testing.assert_array_equal(long, broken)


def test_no_picture_is_refused():
    for rows in ([], [[]]):
        with pytest.raises(ValueError, match="rows is empty"):
            contact_sheet(rows, height=40)
