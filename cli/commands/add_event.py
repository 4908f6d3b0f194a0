"""`esctl add-event`: append one event."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.projections import projections_of, wait_until_projected
from cli.commands.event_data import given_data, lacking, lacking_error, unknown_type_note
from cli.errors import CliError, UsageError
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.text import visible
from handlers.api.routes import IDEMPOTENCY_KEY
from handlers.catalogue import known_types
from handlers.core.validation import Validator
from handlers.domain.items import TEST_STREAM


@command()
def add_event(
    session: Session,
    event_type: Annotated[
        str | None,
        typer.Option("--type", "-t", metavar="TYPE", help="The event's type.", autocompletion=lambda: [*known_types()]),
    ] = None,
    stream_id: Annotated[
        str, typer.Option("--stream-id", "-s", metavar="ID", help="The stream that it is appended to.")
    ] = TEST_STREAM,
    item_id: Annotated[str | None, typer.Option("--item-id", metavar="ID", help="The data's itemId.")] = None,
    amount: Annotated[
        str | None, typer.Option("--amount", metavar="N", help="The data's amount; every digit is kept.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", metavar="JSON", help="The data: JSON, @FILE, or - for standard input."),
    ] = None,
    expected_version: Annotated[
        int | None,
        typer.Option(
            "--expected-version", metavar="N", min=-1, help="Append only if the head is N; -1: the stream must be new."
        ),
    ] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", metavar="ID", help="Kept with the event, and in every log line.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="KEY", help="Makes a repeated command append only once."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the event is in the read model.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long --wait waits.")
    ] = 30.0,
) -> None:
    """Append an event to a stream.

    What a known type still lacks is asked for at a terminal.
    """
    _check_key(idempotency_key)
    event: dict[str, Any] = {"streamId": stream_id, "type": event_type or _asked_type(session)}
    typed = given_data(_data_text(session, data), {"itemId": item_id, "amount": amount})
    event["data"] = _completed(session, event["type"], typed)
    if expected_version is not None:
        event["expectedVersion"] = expected_version
    if correlation_id is not None:
        event["metadata"] = {"correlationId": correlation_id}
    projections = projections_of(stream_id)
    if wait and not projections:
        raise UsageError("--wait has nothing to wait for: no projection follows this stream")
    note = unknown_type_note(event["type"])
    if note:
        session.output.warning(note)

    answer = session.service.add_event(event, idempotency_key=idempotency_key)
    appended = answer.document
    if wait:
        with (
            session.output.progress("waiting for the read model")
            if session.environment.stderr_is_terminal
            else (contextlib.nullcontext())
        ):
            for projection in projections:
                wait_until_projected(
                    session.service, session.environment, projection, stream_id, appended["eventId"], timeout
                )
    if not session.output.is_text:
        session.output.json(appended)
        return
    again = " (already stored; this is the original answer)" if answer.replayed else ""
    where = f"event {appended['eventId']} of stream {visible(appended['streamId'])}"
    session.output.text(f"{visible(appended['type'])} is {where}{again}")
    if not wait and projections:
        session.output.hint("See the items:  esctl list")


def _check_key(key: str | None) -> None:
    for fault in [] if key is None else Validator(IDEMPOTENCY_KEY)(key):
        raise UsageError(f"--idempotency-key {fault.detail}", "It is sent as an HTTP header.")


def _asked_type(session: Session) -> str:
    if not session.environment.interactive:
        raise UsageError("--type is missing", f"Known types: {', '.join(known_types())}.")
    session.output.message(f"Known types: {', '.join(known_types())}")
    while not (answer := session.output.ask("type")):
        pass
    return answer


def _data_text(session: Session, data: str | None) -> str | None:
    """The text that ``--data`` stands for."""
    if data is None or not (data == "-" or data.startswith("@")):
        return data
    name = "standard input" if data == "-" else data[1:]
    try:
        if data == "-":
            return session.environment.read_stdin()
        return (session.environment.directory / Path(name).expanduser()).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"can't read {name}: it is not UTF-8 text") from error
    except OSError as error:
        raise UsageError(f"can't read {name}: {error.strerror or error}") from error


def _completed(session: Session, event_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """The data with what its type lacks, asked for at the terminal."""
    missing = lacking(event_type, data)
    if not missing:
        return data
    if not session.environment.interactive:
        raise lacking_error(event_type, missing)
    completed = dict(data)
    for field in missing:
        while field.name not in completed:
            try:
                completed[field.name] = field.parse(_nonempty(session, field.question))
            except UsageError as error:
                session.output.error(CliError(error.message, error.hint))
    return completed


def _nonempty(session: Session, question: str) -> str:
    while not (answer := session.output.ask(question)):
        pass
    return answer
