"""The dated table of prices (``prices.json`` beside this file)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Price:
    """A price: so many dollars for so many pieces.

    Attributes
    ----------
    per
        How many pieces the price is for: requests, units, bytes.
    unit
        What the price is for, in words.
    """

    price: Decimal
    per: int
    unit: str
    source: str

    def of(self, amount: Decimal) -> Decimal:
        """What an amount of pieces costs."""
        return amount * self.price / self.per


@dataclass(frozen=True, slots=True)
class Prices:
    """All prices, and when and where they hold."""

    as_of: str
    region: str
    currency: str
    by_name: Mapping[str, Price]

    def __getitem__(self, name: str) -> Price:
        return self.by_name[name]


def load() -> Prices:
    """Read the table."""
    document = json.loads(Path(__file__).with_name("prices.json").read_text(encoding="utf-8"))
    by_name = {
        name: Price(Decimal(each["price"]), int(each["per"]), each["unit"], each["source"])
        for name, each in document["prices"].items()
    }
    return Prices(document["asOf"], document["region"], document["currency"], by_name)
