"""`esctl dead-letters`: messages that failed too often, and their recovery."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.errors import CliError, DegradedError, NotFoundError, UsageError
from cli.operate.dead_letters import DeadLetter, DeadLetterQueue, plan
from cli.operate.health import skip_command
from cli.operate.recovery import Redrive, Redriven, reconcile
from cli.operate.resources import Queue, queues_of
from cli.shell.command import ListingGroup, command
from cli.shell.session import Session
from cli.terminal.tables import Column
from cli.terminal.text import duration
from handlers.core.lossless_json import dumps

app = typer.Typer(cls=ListingGroup, rich_markup_mode="rich", pretty_exceptions_enable=False)

QueueName = Annotated[
    str | None, typer.Argument(metavar="[QUEUE]", help="A projection's name, replays or publisher; by default all.")
]
_SHOWN_MAX = 100

_Peeked = tuple[Queue, int, list[DeadLetter]]
"""A queue, how many dead letters it has, and those that SQS shows."""


@app.command("list")
@command()
def list_letters(session: Session, queue: QueueName = None) -> None:
    """List the messages in the dead-letter and failure queues, and why they failed."""
    found = _peeked(session, queue)
    reasons = _reasons(session, [letter for _, _, letters in found for letter in letters])
    if not session.output.is_text:
        session.output.json([_queue_document(*each, reasons) for each in found])
        return
    rows = [
        (letter.queue, letter.message_id, _age(letter), letter.deliveries, letter.about, reasons.get(letter.message_id))
        for _, _, letters in found
        for letter in letters
    ]
    columns = ("queue", "id", Column("age", "right"), Column("deliveries", "right"), "about", "why")
    session.output.table(columns, rows, empty="There are no dead letters.")
    for each, number, letters in found:
        if number > len(letters):
            session.output.message(f"{each.name}: {len(letters)} of {number} are shown; SQS shows no more at once.")
    if rows:
        session.output.hint("Show one in full:  esctl dead-letters show ID")
        session.output.hint("Recover what failed, then delete them:  esctl dead-letters redrive")


@app.command("show")
@command()
def show(
    session: Session,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The message's id, or the beginning of it.")],
) -> None:
    """Show one dead letter in full."""
    letters = [letter for _, _, found in _peeked(session, None) for letter in found]
    fitting = [letter for letter in letters if letter.message_id.startswith(letter_id)]
    if not fitting:
        raise NotFoundError(f"there is no dead letter {letter_id}", "List them:  esctl dead-letters list")
    if len(fitting) > 1:
        names = ", ".join(letter.message_id for letter in fitting)
        raise UsageError(f"{letter_id} is the beginning of several ids", f"Type more of one of them: {names}.")
    letter = fitting[0]
    why = _reasons(session, [letter]).get(letter.message_id)
    if not session.output.is_text:
        session.output.json(_document(letter, why))
        return
    session.output.pairs(
        {
            "id": letter.message_id,
            "queue": letter.queue,
            "sent": letter.sent_at.isoformat(timespec="seconds"),
            "deliveries": letter.deliveries,
            "about": letter.about,
            "why": why or "-",
        }
    )
    body = dumps(dict(letter.content), indent=2) if letter.content else letter.body
    session.output.text(body)


@app.command("redrive")
@command()
def redrive(
    session: Session,
    queue: QueueName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="How long to wait for a catch-up.")
    ] = 60.0,
) -> None:
    """Recover what dead letters stand for, and delete those that are done.

    Halted streams are resumed and catch up from the store; a replay's messages are sent again; what the publisher could
    not announce is found by comparing projections with the store. Exit code 7 if dead letters stay.
    """
    if dry_run:
        lines = [line for each, _, letters in _peeked(session, queue) for line in plan(each, letters)]
        if session.output.is_text:
            session.output.text("\n".join(lines) or "There is nothing to redrive.")
        else:
            session.output.json(lines)
        return
    session.announce("Redriving dead letters")
    stack_name, clients = session.target.stack_name, session.clients
    run = Redrive(session.service, session.environment, lambda: reconcile(clients, stack_name), timeout).run
    with session.output.progress("redriving"):
        results = [run(each) for each in _queues(session, queue)]
    _report(session, results)


@app.command("purge")
@command()
def purge(
    session: Session,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="A projection's name, replays or publisher.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete a queue's dead letters without recovering anything.

    Events stay in the store: what a projection missed it catches up on with its next message, or by redrive.
    """
    [letters] = _queues(session, queue)
    session.announce(f"Purging the dead letters of {queue}")
    number = letters.count()
    if number and not session.output.confirm(f"Permanently delete {_number(number)} of {queue}?", yes=yes):
        session.output.message("Nothing was deleted.")
        return
    deleted = letters.purge() if number else 0
    if session.output.is_text:
        session.output.text(f"{queue}: {deleted} deleted")
    else:
        session.output.json({"queue": queue, "deleted": deleted})


def _queues(session: Session, name: str | None) -> list[DeadLetterQueue]:
    """Return the dead-letter queue of one name, or all of them."""
    queues = queues_of(session.target.outputs)
    chosen = [each for each in queues if name in (None, each.name)]
    if name is not None and not chosen:
        raise NotFoundError(f"there is no queue {name}", f"There are: {', '.join(each.name for each in queues)}.")
    client = session.clients.client("sqs")
    return [DeadLetterQueue(client, each) for each in chosen]


def _peeked(session: Session, name: str | None) -> list[_Peeked]:
    return [(each.queue, each.count(), each.peek(_SHOWN_MAX)) for each in _queues(session, name)]


def _reasons(session: Session, letters: list[DeadLetter]) -> dict[str, str]:
    """Return why messages failed, by message id, as far as the projections know."""
    if not any(letter.event_id is not None for letter in letters):
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
    for letter in letters:
        halt = halts.get((letter.queue, letter.stream_id or ""))
        if halt is not None and letter.event_id is not None and halt.event_id <= letter.event_id:
            found[letter.message_id] = f"halted at event {halt.event_id}: {halt.error}"
    return found


def _age(letter: DeadLetter) -> str:
    return duration((datetime.now(UTC) - letter.sent_at).total_seconds())


def _queue_document(queue: Queue, number: int, letters: list[DeadLetter], reasons: dict[str, str]) -> dict[str, Any]:
    listed = [_document(letter, reasons.get(letter.message_id)) for letter in letters]
    return {"queue": queue.name, "count": max(number, len(letters)), "letters": listed}


def _document(letter: DeadLetter, why: str | None) -> dict[str, Any]:
    return {
        "id": letter.message_id,
        "queue": letter.queue,
        "sentAt": letter.sent_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "deliveries": letter.deliveries,
        "streamId": letter.stream_id,
        "eventId": letter.event_id,
        "replayId": letter.replay_id,
        "about": letter.about,
        "why": why,
        "body": letter.body,
    }


def _report(session: Session, results: list[Redriven]) -> None:
    """Report what was done.

    Raises
    ------
    DegradedError
        Dead letters stay.
    """
    output = session.output
    kept = [(letter, why) for result in results for letter, why in result.kept]
    if output.is_text:
        busy = [result for result in results if result.done or result.kept]
        for result in busy:
            output.text(f"{result.queue}: {result.done} done and deleted, {len(result.kept)} kept")
        if not busy:
            output.text("There was nothing to redrive.")
    else:
        output.json(
            [
                {
                    "queue": result.queue,
                    "done": result.done,
                    "resumed": result.resumed,
                    "kept": [_document(letter, why) for letter, why in result.kept],
                }
                for result in results
            ]
        )
    if kept:
        skips = [f"Skip the event:  {skip_command(each)}" for result in results for each in result.halted]
        raise DegradedError(
            f"{_number(len(kept))} could not be redriven",
            "\n".join(skips) or "List them:  esctl dead-letters list",
            faults=[f"{letter.queue}: {letter.about}: {why}" for letter, why in kept[:10]],
        )


def _number(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"
