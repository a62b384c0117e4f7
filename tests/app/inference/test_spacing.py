"""How far apart lines come in: never too close, and never so far that places stay empty."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.inference.spacing import MOST_PACE, Spacing

SECONDS = st.floats(0.001, 1000)
PLACES = st.integers(1, 512)


def test_before_a_line_has_ended_all_may_come():
    spacing = Spacing(8)
    spacing.began(5.0)
    assert spacing.wait(5.0) == 0


@given(PLACES, SECONDS)
def test_places_that_all_became_free_are_filled_within_half_of_a_lines_time(places, seconds):
    spacing, now = Spacing(places), 0.0
    spacing.ended(seconds)
    for _ in range(places):
        now += spacing.wait(now)
        spacing.began(now)
    assert now <= seconds / MOST_PACE


@given(PLACES, SECONDS)
def test_lines_at_equal_distances_are_not_kept_waiting(places, seconds):
    spacing, now = Spacing(places), 0.0
    spacing.ended(seconds)
    for _ in range(3):
        spacing.began(now)
        now += seconds / places
        assert spacing.wait(now) == 0


@given(st.lists(SECONDS, min_size=1))
def test_the_distance_stays_within_what_lines_took(took):
    spacing = Spacing(1)
    for seconds in took:
        spacing.ended(seconds)
    spacing.began(0.0)
    wait = spacing.wait(0.0) * MOST_PACE
    assert wait == pytest.approx(min(max(wait, min(took)), max(took)))
