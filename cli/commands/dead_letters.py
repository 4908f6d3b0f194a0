"""`esctl dead-letters`: what could not be done, and doing it after all."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import command
from cli.defaultgroup import ListingGroup
from cli.errors import DegradedError, NotFoundError, UsageError
from cli.session import Session
from cli.tables import Column

if TYPE_CHECKING:
    from cli.mending.letters import Letter, SqsLetterBox
    from cli.mending.redrive import Redriven
    from cli.observe.resources import Queue

app = typer.Typer(cls=ListingGroup, rich_markup_mode="rich", pretty_exceptions_enable=False)

QueueName = Annotated[
    str | None, typer.Argument(metavar="[QUEUE]", help="A projection's name, replays or publisher; by default all.")
]
_SHOWN_MAX = 100


@app.command("list")
@command()
def list_letters(session: Session, queue: QueueName = None) -> None:
    """List what lies in the dead-letter and failure queues, and why."""
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
        session.output.hint("See one whole:  esctl dead-letters show ID")
        session.output.hint("Do what they stand for, then delete them:  esctl dead-letters redrive")


@app.command("show")
@command()
def show(
    session: Session,
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="The letter's id, or the beginning of it.")],
) -> None:
    """Show one dead letter whole."""
    letters = [letter for _, _, found in _peeked(session, None) for letter in found]
    fitting = [letter for letter in letters if letter.message_id.startswith(letter_id)]
    if not fitting:
        raise NotFoundError(f"there is no dead letter {letter_id}", "See what there is:  esctl dead-letters list")
    if len(fitting) > 1:
        names = ", ".join(letter.message_id for letter in fitting)
        raise UsageError(f"{letter_id} is the beginning of several ids", f"Say more of it: {names}.")
    letter = fitting[0]
    why = _reasons(session, [letter]).get(letter.message_id)
    if not session.output.is_text:
        session.output.json(_document(letter, why))
        return
    from handlers.exactjson import dumps

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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, metavar="SECONDS", help="How long a catch-up may take.")
    ] = 60.0,
) -> None:
    """Do what dead letters stand for, and delete those that are done.

    A projection catches up from the store; a replay's slices are sent again; what the publisher could not announce is
    found by comparing projections with the store. Exit code 7 where letters stay.
    """
    from cli.mending.announcing import announce
    from cli.mending.redrive import plan
    from cli.mending.redrive import redrive as execute
    from cli.mending.repairs import StackRepairs

    if dry_run:
        lines = [line for each, _, letters in _peeked(session, queue) for line in plan(each, letters)]
        if session.output.is_text:
            session.output.text("\n".join(lines) or "There is nothing to redrive.")
        else:
            session.output.json(lines)
        return
    announce(session, "Redriving dead letters")
    repairs = StackRepairs(session, timeout)
    results = []
    with session.output.progress("redriving"):
        for each, box in _boxes(session, queue):
            results.append(execute(each, box, repairs))
    _redriven(session, results)


@app.command("purge")
@command()
def purge(
    session: Session,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="A projection's name, replays or publisher.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete a queue's dead letters without doing what they stand for.

    The events stay in the store: what a projection missed it catches up on with its next message, or by redrive.
    """
    from cli.mending.announcing import announce

    [(_, box)] = _boxes(session, queue)
    announce(session, f"Purging the dead letters of {queue}")
    number = box.count()
    letters = f"{number} dead letter{'' if number == 1 else 's'}"
    if number and not session.output.confirm(f"Delete {letters} of {queue} for good?", yes=yes):
        session.output.message("Nothing was deleted.")
        return
    deleted = box.delete_where(lambda letter: True)[0] if number else 0
    if session.output.is_text:
        session.output.text(f"{queue}: {deleted} deleted")
    else:
        session.output.json({"queue": queue, "deleted": deleted})


def _boxes(session: Session, name: str | None) -> list[tuple[Queue, SqsLetterBox]]:
    """The dead-letter queues to look at."""
    from cli.mending.letters import SqsLetterBox
    from cli.observe.resources import queues_of

    queues = queues_of(session.target.outputs)
    chosen = [each for each in queues if name in (None, each.name)]
    if name is not None and not chosen:
        raise NotFoundError(f"there is no queue {name}", f"There are: {', '.join(each.name for each in queues)}.")
    client = session.clients.client("sqs")
    return [(each, SqsLetterBox(client, each)) for each in chosen]


def _peeked(session: Session, name: str | None) -> list[tuple[Queue, int, list[Letter]]]:
    return [(each, number, box.peek(_SHOWN_MAX)) for each, box in _boxes(session, name) for number in [box.count()]]


def _reasons(session: Session, letters: list[Letter]) -> dict[str, str]:
    """Why letters are there, as far as the projections tell: by letter id."""
    from cli.errors import CliError
    from cli.observe import probes

    if not any(letter.event_id is not None for letter in letters):
        return {}
    try:
        described = probes.projections(session.api)
    except CliError:  # what lies in the queues is worth showing even where the API is down
        return {}
    halts = {
        (projection["name"], stream["streamId"]): stream["halted"]
        for projection in described
        for stream in projection["streams"]
        if stream.get("halted")
    }
    found = {}
    for letter in letters:
        halt = halts.get((letter.queue, letter.stream_id))
        if halt is not None and letter.event_id is not None and halt["eventId"] <= letter.event_id:
            found[letter.message_id] = f"halted at event {halt['eventId']}: {halt['error']}"
    return found


def _age(letter: Letter) -> str:
    from cli.observe.render import age

    return age((datetime.now(UTC) - letter.sent_at).total_seconds())


def _queue_document(queue: Queue, number: int, letters: list[Letter], reasons: dict[str, str]) -> dict[str, Any]:
    listed = [_document(letter, reasons.get(letter.message_id)) for letter in letters]
    return {"queue": queue.name, "count": max(number, len(letters)), "letters": listed}


def _document(letter: Letter, why: str | None) -> dict[str, Any]:
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


def _redriven(session: Session, results: list[Redriven]) -> None:
    """Say what was done.

    Raises
    ------
    DegradedError
        Letters stay.
    """
    from cli.mending.streams import skip_command

    output = session.output
    kept = [(letter, why) for result in results for letter, why in result.kept]
    if output.is_text:
        for result in results:
            if result.done or result.kept:
                output.text(f"{result.queue}: {result.done} done and deleted, {len(result.kept)} kept")
        if not any(result.done or result.kept for result in results):
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
        skips = [f"Step over the event:  {skip_command(each)}" for result in results for each in result.halted]
        raise DegradedError(
            f"{len(kept)} dead letter{'' if len(kept) == 1 else 's'} could not be redriven",
            "\n".join(skips) or "Look at them:  esctl dead-letters list",
            faults=[f"{letter.queue}: {letter.about}: {why}" for letter, why in kept[:10]],
        )
