"""`esctl walkthrough`: demonstrate and check the whole system, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cli.client.projections import items_projection, wait_until_projected
from cli.client.records import Listing
from cli.commands.list_items import table_of
from cli.errors import CliError
from cli.replay.run import failure, follow
from cli.shell.command import command
from cli.shell.session import Session
from handlers.core.lossless_json import dumps
from handlers.domain.items import TEST_STREAM

ITEM = "1"


@dataclass(frozen=True, slots=True)
class Step:
    """One event, and the item's expected amount after it; None: the item must not exist."""

    title: str
    type: str
    data: Mapping[str, Any]
    amount: int | None


STEPS = (
    Step("Create an item", "ITEM_CREATED", {"itemId": ITEM, "amount": 225}, 225),
    Step("Change its amount", "ITEM_AMOUNT_CHANGED", {"itemId": ITEM, "amount": 500}, 500),
    Step("Delete it", "ITEM_DELETED", {"itemId": ITEM}, None),
)


@command()
def walkthrough(
    session: Session,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="How long each step may take.")
    ] = 60.0,
) -> None:
    """Demonstrate the whole system: create, change and delete an item, read the list after each step, then replay.

    Every response is checked; exit code 1 if one is wrong.
    """
    output = session.output
    target = session.target
    if output.is_text:
        output.text(f"Walkthrough on {target.label}")
        output.text(f"API: {target.api_url}")
    before = session.service.items(items_projection())
    others = [item for item in before.items if item.get("itemId") != ITEM]
    shown = [_run(session, number, step, others, timeout) for number, step in enumerate(STEPS, start=1)]
    replayed = _replay(session, others, shown[-1]["answer"], timeout)
    if not output.is_text:
        output.json({"target": target.kind, "stackName": target.stack_name, "steps": shown, "replay": replayed})
        return
    output.text()
    output.success("The walkthrough is complete: all lists matched.")
    output.hint("Add an event of your own:  esctl add-event --type ITEM_CREATED --item-id 2 --amount 10 --wait")
    output.hint("List the items:            esctl list")
    output.hint(f"See an earlier state:      esctl list --as-of {shown[0]['answer']['eventId']}")
    if target.is_local:
        output.hint("Stop the local target:     esctl local stop")
    else:
        output.hint("Remove the stack:          esctl destroy")


def _run(session: Session, number: int, step: Step, others: list[Any], timeout: float) -> dict[str, Any]:
    """Run one step: post, wait, list, check."""
    output = session.output
    event = {"streamId": TEST_STREAM, "type": step.type, "data": step.data}
    if output.is_text:
        output.text(f"\nStep {number} of {len(STEPS) + 1}: {step.title}")
        output.text(f"POST /addEvent\n  {dumps(event)}")
    answer = session.service.add_event(event)
    appended = answer.document
    if output.is_text:
        output.text(f"{answer.status}\n  {dumps(appended)}")
    wait_until_projected(
        session.service, session.environment, items_projection(), TEST_STREAM, appended["eventId"], timeout
    )
    listing = _list(session)
    check(step, listing, others, appended)
    return {"request": event, "answer": appended, "list": listing.document()}


def _replay(session: Session, others: list[Any], appended: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """Run the last step: rebuild the read model from its history; the list must not change."""
    output = session.output
    request = {"projection": items_projection().name, "streamId": TEST_STREAM}
    if output.is_text:
        output.text(f"\nStep {len(STEPS) + 1} of {len(STEPS) + 1}: Rebuild the read model from its history")
        output.text(f"POST /triggerReplay\n  {dumps(request)}")
    started = session.service.trigger_replay(items_projection().name, TEST_STREAM)
    if output.is_text:
        output.text(f"202\n  {dumps({'replayId': started.replay_id, 'state': started.state})}")
    job = follow(session.service, session.environment, output, started, timeout)
    if output.is_text:
        shown = {name: job.document[name] for name in ("state", "eventsDone", "eventsPerSecond")}
        output.text(f"GET /replays/{job.replay_id}\n200\n  {dumps(shown)}")
    if job.failed or job.cancelled:
        raise failure(job)
    listing = _list(session)
    check(STEPS[-1], listing, others, appended)
    return {"request": request, "answer": job.document, "list": listing.document()}


def _list(session: Session) -> Listing:
    """Read and show the list."""
    output = session.output
    listing = session.service.items(items_projection())
    if output.is_text:
        output.text("GET /listTestItems")
        output.text(f"200, checkpoint {listing.checkpoint}")
        if listing.items:
            output.table(*table_of(listing.items))
        else:
            output.text("  (the list is empty)")
    return listing


def check(step: Step, listing: Listing, others: list[Any], appended: Mapping[str, Any]) -> None:
    """Compare a list with the expected one; raise `CliError` if they differ.

    If another client appended in the meantime, only the walkthrough's own item is compared.
    """
    undisturbed = listing.checkpoint == appended["eventId"]
    expected = [*others, *([] if step.amount is None else [{"itemId": ITEM, "amount": step.amount}])]
    expected.sort(key=lambda item: str(item["itemId"]).encode())
    items = listing.items if undisturbed else [item for item in listing.items if item.get("itemId") == ITEM]
    wanted = expected if undisturbed else [item for item in expected if item["itemId"] == ITEM]
    if items != wanted:
        raise CliError(
            f"the list is wrong after {step.type}: got {dumps(items)}, expected {dumps(wanted)}",
            "Compare the read model with its events:  esctl replay --dry-run\nSearch the logs:  esctl tail-logs",
        )
