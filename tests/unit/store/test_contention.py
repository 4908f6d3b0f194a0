"""What an append does when a place is taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from handlers.clock import rfc3339
from handlers.store.contention import PLACES_IN_A_ROW, Head, Race

BEGAN = datetime(2026, 11, 23, 10, 15, 30, 123000, UTC)


def stamp(milliseconds: int) -> str:
    return rfc3339(BEGAN + timedelta(milliseconds=milliseconds))


@pytest.mark.parametrize("taken_at", [stamp(-11), stamp(-60_000), ""])
@pytest.mark.parametrize("yields", [True, False])
def test_what_was_remembered_and_is_out_of_date_is_read_again_and_is_no_sign_of_another_writer(
    taken_at: str, yields: bool
) -> None:
    race = Race(BEGAN, yields=yields)

    assert race.lost(Head.REMEMBERED, taken_at) is Head.READ
    assert not race.met_others


@pytest.mark.parametrize("taken_at", [stamp(-10), stamp(0), stamp(5)])
def test_an_event_as_young_as_the_append_is_another_writer_s(taken_at: str) -> None:
    race = Race(BEGAN, yields=False)

    assert race.lost(Head.REMEMBERED, taken_at) is Head.SHOWN
    assert race.met_others


@pytest.mark.parametrize("head", [Head.READ, Head.SHOWN])
def test_who_loses_what_he_has_just_read_has_met_another_writer(head: Head) -> None:
    race = Race(BEGAN, yields=False)

    assert race.lost(head, stamp(-60_000)) is Head.SHOWN
    assert race.met_others


def test_who_yields_waits_at_once_and_then_tries_as_often_as_others() -> None:
    race = Race(BEGAN, yields=True)

    assert race.lost(Head.READ, stamp(0)) is None
    assert race.go_on() is Head.READ
    following = [race.lost(Head.READ, stamp(0)) for _ in range(PLACES_IN_A_ROW)]
    assert following == [*[Head.SHOWN] * (PLACES_IN_A_ROW - 1), None]
    assert race.conflicts == 1 + PLACES_IN_A_ROW


def test_an_undecided_write_is_tried_again_as_it_is_a_few_times() -> None:
    race = Race(BEGAN, yields=False)

    assert [race.undecided(Head.READ) for _ in range(PLACES_IN_A_ROW)] == [
        *[Head.READ] * (PLACES_IN_A_ROW - 1),
        None,
    ]
    assert not race.met_others
