"""`esctl dead-letters`: list, redrive or purge messages that failed too often."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.commands import Yes
from cli.errors import CliError, DegradedError, NotFoundError, UsageError
from cli.operate.dead_letters import DeadLetter, DeadLetterQueue, plan
from cli.operate.health import skip_command
from cli.operate.recovery import Redrive, Redriven, reconcile
from cli.operate.resources import Queue, queues_of
from cli.shell.command import ListingGroup, command
from cli.shell.session import Session
from cli.terminal.tables import Column
from cli.terminal.text import duration, plural
from handlers.core.clock import rfc3339
from handlers.core.lossless_json import dumps

app = typer.Typer(cls=ListingGroup)

QueueName = Annotated[
    str | None, typer.Argument(metavar="[QUEUE]", help="A projection's name, replays or publisher; all by default.")
]
_SHOWN_MAX = 100

_Peeked = tuple[Queue, int, list[DeadLetter]]
"""A queue, its number of dead letters, and those that SQS returned."""


@app.command("list")
@command()
def list_dead_letters(session: Session, queue: QueueName = None) -> None:
    """List the messages in the dead-letter and failure queues, and why they failed."""
    found = _peeked(session, queue)
    reasons = _reasons(session, [message for _, _, messages in found for message in messages])
    if not session.output.is_text:
        session.output.json(
            [
                {
                    "queue": queued.name,
                    "count": max(number, len(messages)),
                    "letters": [_document(message, reasons.get(message.message_id)) for message in messages],
                }
                for queued, number, messages in found
            ]
        )
        return
    now = datetime.now(UTC)
    rows = []
    for each in (message for _, _, messages in found for message in messages):
        age = duration((now - each.sent_at).total_seconds())
        rows.append((each.queue, each.message_id, age, each.deliveries, each.about, reasons.get(each.message_id)))
    columns = ("queue", "id", Column("age", "right"), Column("deliveries", "right"), "about", "why")
    session.output.table(columns, rows, empty="There are no dead letters.")
    for queued, number, messages in found:
        if number > len(messages):
            session.output.message(f"{queued.name}: showing {len(messages)} of {number}; SQS returns no more at once.")
    if rows:
        session.output.hint("Show one in full:  esctl dead-letters show ID")
        session.output.hint("Recover and delete them:  esctl dead-letters redrive")


@app.command("show")
@command()
def show(
    session: Session,
    message_id: Annotated[str, typer.Argument(metavar="ID", help="The message's id, or a unique prefix of it.")],
) -> None:
    """Show one dead letter in full."""
    messages = [message for _, _, found in _peeked(session, None) for message in found]
    matches = [message for message in messages if message.message_id.startswith(message_id)]
    if not matches:
        raise NotFoundError(f"there is no dead letter {message_id}", "List them:  esctl dead-letters list")
    if len(matches) > 1:
        names = ", ".join(message.message_id for message in matches)
        raise UsageError(f"{message_id} is a prefix of several ids", f"Use a longer prefix of one of them: {names}.")
    message = matches[0]
    why = _reasons(session, [message]).get(message.message_id)
    if not session.output.is_text:
        session.output.json(_document(message, why))
        return
    session.output.pairs(
        {
            "id": message.message_id,
            "queue": message.queue,
            "sent": message.sent_at.isoformat(timespec="seconds"),
            "deliveries": message.deliveries,
            "about": message.about,
            "why": why or "-",
        }
    )
    body = dumps(dict(message.content), indent=2) if message.content else message.body
    session.output.text(body)


@app.command("redrive")
@command()
def redrive(
    session: Session,
    queue: QueueName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and stop.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="How long to wait for a catch-up.")
    ] = 60.0,
) -> None:
    """Recover from dead letters, and delete those that are no longer needed.

    Halted streams are resumed and catch up from the store, a replay's messages are sent again, and events that the
    publisher failed to announce are found by comparing projections with the store. Exit code 7 if dead letters
    remain, or a stream halts again.
    """
    if dry_run:
        lines = [line for each, _, messages in _peeked(session, queue) for line in plan(each, messages)]
        if session.output.is_text:
            session.output.text("\n".join(lines) or "There is nothing to redrive.")
        else:
            session.output.json(lines)
        return
    session.announce("Redriving dead letters")
    stack_name, clients = session.target.stack_name, session.clients
    names = [each.name for each in queues_of(session.target.outputs) if each.kind == "projection"]
    run = Redrive(session.service, session.environment, lambda: reconcile(clients, stack_name, names), timeout).run
    with session.output.progress("redriving"):
        results = [run(each) for each in _queues(session, queue)]
    _report(session, results)


@app.command("purge")
@command()
def purge(
    session: Session,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="A projection's name, replays or publisher.")],
    yes: Yes = False,
) -> None:
    """Delete a queue's dead letters without recovering anything.

    Events stay in the store: a projection catches up with its next message, or by esctl dead-letters redrive.
    """
    [found] = _queues(session, queue)
    session.announce(f"Purging the dead letters of {queue}")
    number = found.count()
    if number and not session.output.confirm(
        f"Permanently delete {plural(number, 'dead letter')} of {queue}?", yes=yes
    ):
        session.output.message("Nothing was deleted.")
        return
    deleted = found.purge() if number else 0
    if session.output.is_text:
        session.output.text(f"{queue}: {deleted} deleted")
    else:
        session.output.json({"queue": queue, "deleted": deleted})


def _queues(session: Session, name: str | None) -> list[DeadLetterQueue]:
    queues = queues_of(session.target.outputs)
    chosen = [each for each in queues if name in (None, each.name)]
    if name is not None and not chosen:
        raise NotFoundError(f"there is no queue {name}", f"Queues: {', '.join(each.name for each in queues)}.")
    client = session.clients.client("sqs")
    return [DeadLetterQueue(client, each) for each in chosen]


def _peeked(session: Session, name: str | None) -> list[_Peeked]:
    return [(each.queue, each.count(), each.peek(_SHOWN_MAX)) for each in _queues(session, name)]


def _reasons(session: Session, messages: list[DeadLetter]) -> dict[str, str]:
    """Return why messages failed, by message id, if a halted projection explains it."""
    if not any(message.event_id is not None for message in messages):
        return {}
    try:
        described = session.service.projections()
    except CliError:  # the queues are worth showing even if the API is down
        return {}
    halts = {
        (projection.name, stream.stream_id): stream.halted
        for projection in described
        for stream in projection.streams
        if stream.halted
    }
    found = {}
    for message in messages:
        halt = halts.get((message.queue, message.stream_id or ""))
        if halt is not None and message.event_id is not None and halt.event_id <= message.event_id:
            found[message.message_id] = f"halted at event {halt.event_id}: {halt.error}"
    return found


def _document(message: DeadLetter, why: str | None) -> dict[str, Any]:
    return {
        "id": message.message_id,
        "queue": message.queue,
        "sentAt": rfc3339(message.sent_at),
        "deliveries": message.deliveries,
        "streamId": message.stream_id,
        "eventId": message.event_id,
        "replayId": message.replay_id,
        "about": message.about,
        "why": why,
        "body": message.body,
    }


def _report(session: Session, results: list[Redriven]) -> None:
    """Report what was done; raise `DegradedError` if dead letters remain, or streams halted again."""
    output = session.output
    if output.is_text:
        busy = [result for result in results if result.done or result.kept]
        for result in busy:
            output.text(f"{result.queue}: {result.done} done and deleted, {len(result.kept)} kept")
        if not busy:
            output.text("There is nothing to redrive.")
    else:
        output.json(
            [
                {
                    "queue": result.queue,
                    "done": result.done,
                    "resumed": result.resumed,
                    "kept": [_document(message, why) for message, why in result.kept],
                }
                for result in results
            ]
        )
    kept = sum(len(result.kept) for result in results)
    halted = sum(len(result.halted) for result in results)
    if kept or halted:
        skips = [f"Skip the event:  {skip_command(each)}" for result in results for each in result.halted]
        raise DegradedError(
            f"{plural(kept, 'dead letter')} could not be redriven"
            if kept
            else f"{plural(halted, 'stream')} halted again",
            "\n".join(skips) or "List them:  esctl dead-letters list",
            faults=[each for result in results for each in result.problems][:10],
        )
