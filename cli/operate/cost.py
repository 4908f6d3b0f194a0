"""The cost of events: usage measured from the functions' log lines, priced with a dated price list."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from statistics import median

from cli.operate.logs import Kind, Line

# CloudWatch bills 26 bytes of overhead per line: https://aws.amazon.com/cloudwatch/pricing/
_LINE_OVERHEAD_BYTES = 26
_APPENDING = "AddEvent"
_PUBLISHING = "Publisher"
_PROJECTING = "Projector"
_SINGLE_READS = {"dynamodb.GetItem": 1, "dynamodb.Query": 1, "dynamodb.TransactGetItems": 4}
MILLION = 1_000_000
_MINUTES_PER_MONTH = 43_800
# "Using Lambda with Amazon SQS": five concurrent long polls of twenty seconds each, even without messages.
_IDLE_RECEIVES_PER_MONTH = 5 * 3 * _MINUTES_PER_MONTH


@dataclass
class FunctionUse:
    """The usage of one function on an event's path."""

    memory_mb: int = 0
    durations_ms: list[float] = field(default_factory=list)  # billed, of each invocation
    requests: Counter[str] = field(default_factory=Counter)  # by service and operation, such as dynamodb.PutItem
    read_units: float = 0.0
    write_units: float = 0.0
    log_bytes: int = 0

    @property
    def invocations(self) -> int:
        return len(self.durations_ms)

    @property
    def typical_ms(self) -> float:
        """Return the median duration: a few cold starts would distort the mean."""
        return median(self.durations_ms) if self.durations_ms else 0.0

    @property
    def reads_by_count(self) -> float:
        """Return read units estimated from requests for small items: the emulator reports wrong ones."""
        return float(sum(self.requests[name] * units for name, units in _SINGLE_READS.items()))


@dataclass
class Measured:
    """The usage in the measured period."""

    events: int = 0
    calls: int = 0  # of the API, that appended the events
    published: int = 0  # messages to the topic
    delivered: int = 0  # messages to the queues of projections
    functions: dict[str, FunctionUse] = field(default_factory=dict)  # that events pass through, by logical id


def on_event_path(functions: Iterable[str]) -> list[str]:
    """Return the functions that every event passes through, in order."""
    names = sorted(functions)
    return [
        *(name for name in (_APPENDING, _PUBLISHING) if name in names),
        *(name for name in names if name.startswith(_PROJECTING)),
    ]


def measure(lines: Iterable[Line]) -> Measured:
    """Sum up the log lines of the functions on an event's path."""
    found = Measured()
    for line in lines:
        use = found.functions.setdefault(line.function, FunctionUse())
        use.log_bytes += len(line.raw.message.encode()) + _LINE_OVERHEAD_BYTES
        if line.kind is Kind.REPORT:
            _report(use, line.fields)
        elif line.text == "appended" and line.function == _APPENDING:
            found.events += int(line.fields.get("lastEventId", 0)) - int(line.fields.get("eventId", 0)) + 1
        elif line.function == _APPENDING and line.text.startswith("POST "):
            found.calls += 1
        elif line.text == "published":
            found.published += len(line.fields.get("eventIds", ()))
        elif line.text == "projected":
            found.delivered += len(line.fields.get("eventIds", ()))
        used = line.fields.get("used")
        if isinstance(used, Mapping):
            use.requests.update(used.get("requests", {}))
            use.read_units += float(used.get("readUnits", 0))
            use.write_units += float(used.get("writeUnits", 0))
    return found


def _report(use: FunctionUse, fields: Mapping[str, str]) -> None:
    use.memory_mb = int(float(fields.get("Memory Size", "0").split()[0]))
    billed = fields.get("Billed Duration") or fields.get("Duration") or "0"
    use.durations_ms.append(float(billed.split()[0]))


@dataclass(frozen=True, slots=True)
class Price:
    """A price in dollars for ``per`` units (requests, capacity units, bytes)."""

    price: Decimal
    per: int
    unit: str
    source: str

    def of(self, amount: Decimal) -> Decimal:
        return amount * self.price / self.per


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list, with its date and region."""

    as_of: str
    region: str
    currency: str
    by_name: Mapping[str, Price]

    def __getitem__(self, name: str) -> Price:
        return self.by_name[name]


def load_prices() -> Prices:
    """Load the price list, ``prices.json`` in this folder."""
    document = json.loads(Path(__file__).with_name("prices.json").read_text(encoding="utf-8"))
    by_name = {
        name: Price(Decimal(each["price"]), int(each["per"]), each["unit"], each["source"])
        for name, each in document["prices"].items()
    }
    return Prices(document["asOf"], document["region"], document["currency"], by_name)


@dataclass(frozen=True, slots=True)
class LineItem:
    """One line of the bill."""

    service: str
    what: str
    each: Decimal | None  # units per event
    amount: Decimal  # units per million events, or per month
    unit: str
    cost: Decimal


def per_million(measured: Measured, prices: Prices, *, count_reads: bool) -> list[LineItem]:
    """Return the cost of a million events, item by item.

    With ``count_reads``, read units are estimated from the number of reads: the emulator reports wrong ones.
    """
    return list(_items(measured, prices, count_reads))


def _items(measured: Measured, prices: Prices, count_reads: bool) -> Iterator[LineItem]:
    events = measured.events

    def item(service: str, what: str, price: str, total: float) -> LineItem:
        each = Decimal(str(total)) / events
        amount = each * MILLION
        return LineItem(service, what, each, amount, prices[price].unit, prices[price].of(amount))

    yield item("API Gateway", "calls", "apiRequest", measured.calls)
    for name, use in measured.functions.items():
        yield item("Lambda", f"{name}: requests", "lambdaRequest", use.invocations)
        gb_seconds = use.invocations * use.typical_ms / 1000 * use.memory_mb / 1024
        yield item("Lambda", f"{name}: {use.typical_ms:.0f} ms of {use.memory_mb} MB", "lambdaGbSecond", gb_seconds)
    for name, use in measured.functions.items():
        if use.write_units:
            yield item("DynamoDB", f"{name}: writes", "writeUnit", use.write_units)
        reads = use.reads_by_count if count_reads else use.read_units
        if reads:
            yield item("DynamoDB", f"{name}: reads", "readUnit", reads)
    yield item("SNS", "messages published", "snsPublish", measured.published)
    yield item("SNS", "messages delivered", "snsDelivery", measured.delivered)
    projecting = sum(use.invocations for name, use in measured.functions.items() if name.startswith("Projector"))
    yield item("SQS", "sent, received, deleted", "sqsRequest", measured.delivered + 2 * projecting)
    log_bytes = sum(use.log_bytes for use in measured.functions.values())
    yield item("CloudWatch", "logs", "logGb", log_bytes)


def monthly(prices: Prices, *, event_bytes: int, alarms: int, queues: int, projections: int) -> list[LineItem]:
    """Return the monthly cost on top: storage of a million events, and resources that cost without events."""
    stored = Decimal(event_bytes * MILLION)
    metrics = 2 + 5 * projections  # appended, conflicts; projected, skipped, halts, lag, halted streams

    def item(service: str, what: str, price: str, amount: Decimal) -> LineItem:
        return LineItem(service, what, None, amount, prices[price].unit, prices[price].of(amount))

    return [
        item("DynamoDB", f"a million events of {event_bytes} bytes stored", "tableGbMonth", stored),
        item("DynamoDB", "their continuous backup", "backupGbMonth", stored),
        item("CloudWatch", "alarms", "alarmMonth", Decimal(alarms)),
        item("CloudWatch", "dashboard", "dashboardMonth", Decimal(1)),
        item("CloudWatch", "custom metrics", "metricMonth", Decimal(metrics)),
        item("Lambda", "the reconciler's requests", "lambdaRequest", Decimal(_MINUTES_PER_MONTH * projections)),
        item("SQS", "polling for messages", "sqsRequest", Decimal(_IDLE_RECEIVES_PER_MONTH * queues)),
    ]


def assumptions(measured: Measured, prices: Prices, *, local: bool) -> list[str]:
    """Return the assumptions behind the figures."""
    found = [
        f"List prices of {prices.region} as of {prices.as_of}, excluding free tier, discounts, tax and data transfer.",
        f"Measured: {measured.events:,} events in {measured.calls:,} calls; "
        f"{measured.delivered / max(1, measured.published):.2f} deliveries per event.",
        "A function's duration is the median of its invocations, so cold starts hardly count.",
        "Larger batches cost less: under load, one invocation of the publisher or a projector handles many events.",
        "An append with an Idempotency-Key, as esctl sends one, needs 4 write units; without one it needs 1.",
        "Reading (lists, streams) and replays are not included.",
    ]
    if local:
        found.append("Durations are those of this machine. Read units are estimated from reads of small items.")
    return found
