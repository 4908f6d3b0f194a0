"""Time, waiting, and errors."""

import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone

import pytest

from handlers.core.clock import Backoff, SystemClock, attempts, parse_rfc3339, rfc3339
from handlers.core.errors import EsError, Fault, InvalidInputError, pointer


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    moment = datetime(2026, 11, 23, 12, 15, 30, 123999, tzinfo=timezone(timedelta(hours=2)))

    assert rfc3339(moment) == "2026-11-23T10:15:30.123Z"
    assert parse_rfc3339("2026-11-23T10:15:30.123Z") == datetime(2026, 11, 23, 10, 15, 30, 123000, tzinfo=UTC)


def test_the_system_clock_is_aware() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-23t10:15:30z", "2026-11-23T10:15:30.000Z"),
        ("2026-11-23T10:15:30+00:00", "2026-11-23T10:15:30.000Z"),
        ("2026-11-23T10:15:30-00:00", "2026-11-23T10:15:30.000Z"),
        ("2026-11-23T00:15:30+23:59", "2026-11-22T00:16:30.000Z"),
        ("2026-11-23T10:15:30.1Z", "2026-11-23T10:15:30.100Z"),
        ("2026-11-23T10:15:30.12345678901234567890Z", "2026-11-23T10:15:30.123Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
        # The examples of RFC 3339, section 5.8: leap seconds.
        ("1990-12-31T23:59:60Z", "1991-01-01T00:00:00.000Z"),
        ("1990-12-31T15:59:60.25-08:00", "1991-01-01T00:00:00.250Z"),
        ("1937-01-01T12:00:27.87+00:20", "1937-01-01T11:40:27.870Z"),
    ],
)
def test_a_time_is_read_as_rfc_3339_has_it(text: str, utc: str) -> None:
    assert rfc3339(parse_rfc3339(text)) == utc


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-11-23",
        "2026-11-23T10:15:30",
        "2026-11-23T10:15Z",
        "2026-11-23T10Z",
        "2026-11-23 10:15:30Z",
        "2026-11-23_10:15:30Z",
        "2026-11-23T10:15:30,5Z",
        "2026-11-23T10:15:30.Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T10:60:00Z",
        "2026-11-23T10:15:60Z",
        "2026-11-23T23:59:60Z",
        "2026-11-30T22:59:60Z",
        "2026-11-23T10:15:61Z",
        "9999-12-31T23:59:60Z",
        "2026-11-23T10:15:30+24:00",
        "2026-11-23T10:15:30+23:60",
        "2026-11-23T10:15:30+23:59:59",
        "2026-11-23T10:15:30+01",
        "2026-11-23T10:15:30+0100",
        "2026-11-23T10:15:30−01:00",
        "2026-11-23T10:15:30 Z",
        " 2026-11-23T10:15:30Z",
        "2026-11-23T10:15:30Z\n",
        "2026-W47-1T10:15:30Z",
        "2026-W47-1",
        "2026-327T10:15:30Z",
        "20261123T101530Z",
        "2026-11-23T101530Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "٢026-11-23T10:15:30Z",
        "+2026-11-23T10:15:30Z",
    ],
)
def test_whatever_else_looks_like_a_time_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_rfc3339(text)


def waits(backoff: Backoff, uniform: Callable[[], float], step_s: float = 0.0) -> Sequence[float]:
    """Return the waits of a policy, on a clock that each attempt and each wait move on."""
    slept: list[float] = []
    ticks = itertools.count(0, step_s)
    for _ in attempts(backoff, monotonic=lambda: next(ticks) + sum(slept), sleep=slept.append, uniform=uniform):
        pass
    return slept


def test_waits_double_up_to_a_cap_and_end_before_the_deadline() -> None:
    # 0.5 * (0.25 + 0.5 + 1 + 1.5 + 1.5) is 2.375; another wait would end at 3.125
    assert waits(Backoff(3, 0.25, 1.5), lambda: 0.5) == [0.125, 0.25, 0.5, 0.75, 0.75]


def test_jitter_is_full() -> None:
    draws = itertools.cycle([0.0, 0.25, 0.75])

    assert waits(Backoff(2, 1, 1), lambda: next(draws)) == [0.25, 0.75, 0.25, 0.75]


def test_the_first_retries_may_be_made_at_once() -> None:
    backoff = Backoff(10, 0.5, 8, immediate_retries=2)

    assert [backoff.wait_s(retry, lambda: 1.0) for retry in range(1, 8)] == [0, 0, 0.5, 1, 2, 4, 8]


def test_the_first_attempt_is_made_even_with_no_time_left() -> None:
    assert list(attempts(Backoff(0, 1, 1), sleep=lambda _: None, uniform=lambda: 0.5)) == [0]


def test_retries_may_go_on_for_long() -> None:
    assert len(waits(Backoff(5000, 0.03, 0.2), lambda: 0.5, step_s=1)) > 4000


def test_every_fault_of_an_input_is_in_its_message() -> None:
    error = InvalidInputError([Fault("/data/amount", "is missing"), Fault("", "is not JSON")])

    assert str(error) == "/data/amount: is missing; body: is not JSON"
    assert isinstance(error, EsError)
    assert error.status == 400


def test_a_pointer_escapes_what_rfc_6901_says() -> None:
    assert pointer("a/b", "m~n", 0, "") == "/a~1b/m~0n/0/"
    assert pointer() == ""
