"""Numbers on their way into a table: every digit kept, and none counted that DynamoDB does not count."""

from __future__ import annotations

from decimal import Decimal

import pytest

from handlers.projection.dynamodb import deserialize, serialize
from handlers.projection.rows import UnstorableError, check_number


@pytest.mark.parametrize(
    "number",
    [0, -5, 12345678901234567890, 10**40, -(10**125), Decimal("0.1"), Decimal("1." + "0" * 45), Decimal("9" * 38)],
)
def test_a_number_that_the_limits_let_through_is_stored_as_it_is(number: int | Decimal) -> None:
    check_number(number)

    assert deserialize(serialize(number)) == number


@pytest.mark.parametrize("number", [10**126, Decimal("1e-131"), Decimal("1" * 39), Decimal("NaN"), Decimal("Infinity")])
def test_a_number_out_of_range_is_refused(number: int | Decimal) -> None:
    with pytest.raises(UnstorableError):
        check_number(number)
