"""From measured amounts to money: pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from cli.costs.measure import FunctionUse, Measured
from cli.costs.prices import Prices

MILLION = 1_000_000
_MINUTES_A_MONTH = 43_800
# "Using Lambda with Amazon SQS": five long polls at a time, twenty seconds each, even where nothing comes.
_IDLE_RECEIVES_A_MONTH = 5 * 3 * _MINUTES_A_MONTH


@dataclass(frozen=True, slots=True)
class Part:
    """One line of the bill.

    Attributes
    ----------
    each
        Amount per event.
    amount
        Amount per million events, or per month; in pieces of the price's unit.
    """

    service: str
    what: str
    each: Decimal | None
    amount: Decimal
    unit: str
    cost: Decimal


def per_million(measured: Measured, prices: Prices, *, count_reads: bool) -> list[Part]:
    """What a million events cost, part by part.

    Parameters
    ----------
    count_reads
        Take read units from the number of reads instead of what DynamoDB said (the emulator says it wrongly).
    """
    return list(_parts(measured, prices, count_reads))


def _parts(measured: Measured, prices: Prices, count_reads: bool) -> Iterator[Part]:
    events = measured.events

    def part(service: str, what: str, price: str, total: float) -> Part:
        each = Decimal(str(total)) / events
        amount = each * MILLION
        return Part(service, what, each, amount, prices[price].unit, prices[price].of(amount))

    yield part("API Gateway", "calls", "apiRequest", measured.calls)
    for name, use in measured.functions.items():
        yield part("Lambda", f"{name}: requests", "lambdaRequest", use.invocations)
        yield part(
            "Lambda", f"{name}: {use.typical_ms:.0f} ms of {use.memory_mb} MB", "lambdaGbSecond", _gb_seconds(use)
        )
    for name, use in measured.functions.items():
        if use.write_units:
            yield part("DynamoDB", f"{name}: writes", "writeUnit", use.write_units)
        reads = use.reads_by_count if count_reads else use.read_units
        if reads:
            yield part("DynamoDB", f"{name}: reads", "readUnit", reads)
    yield part("SNS", "messages published", "snsPublish", measured.published)
    yield part("SNS", "messages delivered", "snsDelivery", measured.delivered)
    projecting = sum(use.invocations for name, use in measured.functions.items() if name.startswith("Projector"))
    yield part("SQS", "sent, received, deleted", "sqsRequest", measured.delivered + 2 * projecting)
    log_bytes = sum(use.log_bytes for use in measured.functions.values())
    yield part("CloudWatch", "logs", "logGb", log_bytes)


def _gb_seconds(use: FunctionUse) -> float:
    return use.invocations * use.typical_ms / 1000 * use.memory_mb / 1024


def monthly(prices: Prices, *, event_bytes: int, alarms: int, queues: int, projections: int) -> list[Part]:
    """What a month costs besides: a million stored events, and what is there without any.

    Parameters
    ----------
    event_bytes
        Size of a stored event.
    alarms, queues, projections
        How many there are of each.
    """
    stored = Decimal(event_bytes * MILLION)
    metrics = 2 + 5 * projections  # appended, conflicts; projected, skipped, halts, lag, halted streams

    def part(service: str, what: str, price: str, amount: Decimal) -> Part:
        return Part(service, what, None, amount, prices[price].unit, prices[price].of(amount))

    return [
        part("DynamoDB", f"a million events of {event_bytes} bytes kept", "tableGbMonth", stored),
        part("DynamoDB", "their continuous backup", "backupGbMonth", stored),
        part("CloudWatch", "alarms", "alarmMonth", Decimal(alarms)),
        part("CloudWatch", "dashboard", "dashboardMonth", Decimal(1)),
        part("CloudWatch", "own metrics", "metricMonth", Decimal(metrics)),
        part("Lambda", "the reconciler's requests, one a minute", "lambdaRequest", Decimal(_MINUTES_A_MONTH)),
        part("SQS", "waiting for messages", "sqsRequest", Decimal(_IDLE_RECEIVES_A_MONTH * queues)),
    ]


def assumptions(measured: Measured, prices: Prices, *, local: bool) -> list[str]:
    """What to know about the figures."""
    found = [
        f"List prices of {prices.region} as of {prices.as_of}, without free tier, discounts, tax and data transfer.",
        f"Measured: {measured.events:,} events in {measured.calls:,} calls; "
        f"{measured.delivered / max(1, measured.published):.2f} deliveries per event.",
        "A function's time is the median of its invocations: cold starts are left out.",
        "Larger batches cost less: under load a call of the publisher or of a projector takes in many events.",
        "An append with an Idempotency-Key, as esctl sends one, needs 4 write units; without one it needs 1.",
        "Reading (lists, streams) and replays are not in it.",
    ]
    if local:
        found.append("Functions' times are this machine's. Read units are counted from the reads, a small item each.")
    return found
