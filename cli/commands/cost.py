"""`esctl cost`: estimate what a million events cost on this stack."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import typer

from cli.errors import CliError, NotFoundError
from cli.operate.cost import LineItem, Measured, assumptions, load_prices, measure, monthly, on_event_path, per_million
from cli.operate.logs import seconds, understand
from cli.operate.logs_tail import FunctionLogs, start_of
from cli.operate.resources import Resources, find_resources
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.tables import Column
from handlers.core.lossless_json import dumps
from handlers.domain.items import TEST_STREAM

_SAMPLED_EVENTS = 100
_EVENTS_WANTED = 100  # the median of fewer is unreliable


@command()
def cost(
    session: Session,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Measure the events of this period: 10m, 2h, 3d.")
    ] = "1h",
) -> None:
    """Estimate what a million events cost, from the usage that this stack's functions logged and a dated price list.

    Requests, write units and milliseconds are those of the events appended within --since.
    """
    resources = find_resources(session.clients, session.target.stack_name)
    measured = _measured(session, resources, since)
    table = load_prices()
    local = session.target.is_local  # the emulator reports wrong read units, and this machine's durations
    parts = per_million(measured, table, count_reads=local)
    projections = sum(name.startswith("Projector") for name in resources.functions)
    by_month = monthly(
        table,
        event_bytes=_event_bytes(session),
        alarms=len(resources.by_type.get("AWS::CloudWatch::Alarm", {})),
        queues=projections + 1,
        projections=projections,
    )
    notes = assumptions(measured, table, local=local)
    if not session.output.is_text:
        session.output.json(
            {
                "asOf": table.as_of,
                "region": table.region,
                "currency": table.currency,
                "measuredEvents": measured.events,
                "perMillionEvents": _document(parts),
                "perMonth": _document(by_month),
                "assumptions": notes,
            }
        )
        return
    _show(session, f"A million events: {_money(sum(each.cost for each in parts))}", parts)
    session.output.text()
    _show(session, f"Per month in addition: {_money(sum(each.cost for each in by_month))}", by_month)
    session.output.message()
    for note in notes:
        session.output.message(f"- {note}")
    if measured.events < _EVENTS_WANTED:
        session.output.hint(
            f"Only {measured.events} events were measured; append more, or measure a longer period:  esctl cost --since 1d"
        )


def _measured(session: Session, resources: Resources, since: str) -> Measured:
    groups = {name: resources.log_groups[name] for name in on_event_path(resources.log_groups)}
    logs = FunctionLogs(session.target, session.clients, groups)
    with session.output.progress("reading the logs"):
        lines = logs.follower(start_of(seconds(since), None)).look()
    measured = measure(map(understand, lines))
    if not measured.events:
        raise CliError(
            f"nothing to measure: no event was appended in the last {since}",
            "Append some events:  esctl walkthrough\nOr measure a longer period:  esctl cost --since 1d",
        )
    return measured


def _event_bytes(session: Session) -> int:
    """Return the mean size in bytes of the test stream's last events, as DynamoDB counts it: names and values."""
    try:
        pages = list(session.service.event_pages(TEST_STREAM, limit=_SAMPLED_EVENTS, backwards=True))
    except NotFoundError:
        pages = []
    sizes = [len(dumps(event).encode()) for page in pages for event in page]
    # writeId and its name add 40 bytes, and DynamoDB's own index entry 100.
    return round(sum(sizes) / len(sizes)) + 140 if sizes else 500


def _show(session: Session, title: str, parts: list[LineItem]) -> None:
    figures = [Column(name, "right") for name in ("per event", "amount", "price per", "USD")]
    rows = []
    for part in parts:
        each = "" if part.each is None else f"{part.each:.3f}"
        amount = f"{part.amount / 1_000_000_000:.2f} GB" if "GB " in part.unit else f"{part.amount:,.0f}"
        rows.append((part.service, part.what, each, amount, part.unit, f"{part.cost:.2f}"))
    session.output.table(["service", "what", *figures], rows, title=title)


def _money(amount: Decimal | int) -> str:
    return f"{amount:.2f} USD"


def _document(parts: list[LineItem]) -> dict[str, Any]:
    return {
        "total": round(sum((each.cost for each in parts), Decimal(0)), 4),
        "parts": [
            {
                "service": each.service,
                "what": each.what,
                "perEvent": None if each.each is None else round(each.each, 6),
                "amount": round(each.amount, 3),
                "unit": each.unit,
                "cost": round(each.cost, 6),
            }
            for each in parts
        ],
    }
