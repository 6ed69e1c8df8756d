"""Which way a page's lines run, told by the corners of their boxes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from actors.engines.line_ocr.upright import Quad, lies_on_its_side, quad_of, sides, skew_of


def line(width: float, height: float, clockwise: float) -> Quad:
    """The corners of a line of this size, turned; top left first before the turn."""
    angle = math.radians(clockwise)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    half = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return np.asarray(half @ turn + 1000, np.float32)


@pytest.mark.parametrize("clockwise", [-5.0, 0.0, 5.0])
@pytest.mark.parametrize("size", [(600, 20), (20, 600), (20, 22)])
def test_corners_are_put_in_order_whatever_order_they_came_in(size, clockwise):
    expected = line(*size, clockwise)
    for order in itertools.permutations(range(4)):
        quad = quad_of(expected[list(order)].tolist())
        assert quad == pytest.approx(expected, abs=0.01)
        assert sides(quad) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize("clockwise", [-5.0, 5.0])
def test_a_page_lies_on_its_side_although_its_lines_lean_by_more_than_they_are_wide(clockwise):
    corners = line(20, 600, clockwise)
    left, right = np.split(corners[np.argsort(corners[:, 0])], 2)  # as RapidOCR sorts them: by x first
    by_x = [
        left[left[:, 1].argmin()],
        right[right[:, 1].argmin()],
        right[right[:, 1].argmax()],
        left[left[:, 1].argmax()],
    ]
    assert not lies_on_its_side([np.array(by_x)])
    assert lies_on_its_side([quad_of(by_x)])


def test_the_skew_of_a_page_is_that_of_its_long_lines():
    quads = [quad_of(line(600, 20, 3.0)) for _ in range(5)] + [quad_of(line(30, 20, -10.0))]
    assert skew_of(quads) == pytest.approx(-3.0, abs=0.05)


def test_rows_that_lean_by_the_dots_at_their_end_do_not_make_a_page_skewed():
    leaning, level = line(600, 28, 0.8), line(200, 28, 0.0)
    assert skew_of([leaning, *[level] * 4]) == 0.0
