"""`esctl add-event`: append one event; `esctl schemas`: show the catalogue of known event types."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.projections import list_command, projections_of, wait_until_projected
from cli.errors import CliError, NotFoundError, UsageError
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.tables import Column
from cli.terminal.text import visible
from handlers import catalogue
from handlers.api.routes import IDEMPOTENCY_KEY
from handlers.core.lossless_json import NotJsonError, loads
from handlers.core.validation import Validator
from handlers.domain import registry
from handlers.domain.items import TEST_STREAM

schemas_app = typer.Typer()

_SCHEMA_COLUMNS = ("type", Column("version", "right"), "required", "optional", "description")
_SHORTHANDS = {"itemId": "--item-id", "amount": "--amount"}  # fields that have an option of their own


@command()
def add_event(
    session: Session,
    event_type: Annotated[
        str | None,
        typer.Option("--type", "-t", metavar="TYPE", help="The event type.", autocompletion=catalogue.known_types),
    ] = None,
    stream_id: Annotated[
        str, typer.Option("--stream-id", "-s", metavar="ID", help="The stream to append to.")
    ] = TEST_STREAM,
    item_id: Annotated[str | None, typer.Option("--item-id", metavar="ID", help="Set itemId in the data.")] = None,
    amount: Annotated[
        str | None, typer.Option("--amount", metavar="N", help="Set amount in the data; every digit is kept.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", metavar="JSON", help="The event data: JSON, @FILE, or - for standard input."),
    ] = None,
    expected_version: Annotated[
        int | None,
        typer.Option(
            "--expected-version",
            metavar="N",
            min=-1,
            help="Append only if the stream's last event is N; -1: only if the stream is new.",
        ),
    ] = None,
    correlation_id: Annotated[
        str | None,
        typer.Option("--correlation-id", metavar="ID", help="Store this id with the event and write it to the logs."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", metavar="KEY", help="Append only once, however often this is repeated."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the event is in the read model.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long --wait waits.")
    ] = 30.0,
) -> None:
    """Append an event to a stream.

    At a terminal, prompts for fields that a known type requires and that are missing.
    """
    _check_key(idempotency_key)
    event: dict[str, Any] = {"streamId": stream_id, "type": event_type or _ask_type(session)}
    given = _given_data(_data_text(session, data), {"itemId": item_id, "amount": amount})
    event["data"] = _completed(session, event["type"], given)
    if expected_version is not None:
        event["expectedVersion"] = expected_version
    if correlation_id is not None:
        event["metadata"] = {"correlationId": correlation_id}
    projections = projections_of(stream_id)
    if wait and not projections:
        raise UsageError("--wait has nothing to wait for: no projection reads this stream")
    _warn_of_unknown_type(session, event["type"])

    answer = session.service.add_event(event, idempotency_key=idempotency_key)
    appended = answer.document
    if wait:
        quiet = contextlib.nullcontext()
        progress = session.output.progress("waiting for the read model")
        with progress if session.environment.stderr_is_terminal else quiet:
            for each in projections:
                wait_until_projected(
                    session.service, session.environment, each, stream_id, appended["eventId"], timeout
                )
    if not session.output.is_text:
        session.output.json(appended)
        return
    repeated = " (already stored; this is the original answer)" if answer.replayed else ""
    where = f"event {appended['eventId']} of stream {visible(appended['streamId'])}"
    session.output.text(f"{visible(appended['type'])} is {where}{repeated}")
    if not wait and projections:
        session.output.hint(f"List the rows:  {list_command(projections[0])}")


def _check_key(key: str | None) -> None:
    for fault in [] if key is None else Validator(IDEMPOTENCY_KEY)(key):
        raise UsageError(f"--idempotency-key {fault.detail}", "It is sent as an HTTP header.")


def _warn_of_unknown_type(session: Session, event_type: str) -> None:
    if event_type not in catalogue.known_types():
        near = _similar_type(event_type)
        suggestion = f"; did you mean {near}?" if near else ""
        handled = any(each.handles(event_type) for each in registry().values())
        effect = "it is stored without a check of its data" if handled else "it is stored but not projected"
        session.output.warning(f"{event_type} is not a known type: {effect}{suggestion}")


def _similar_type(event_type: str) -> str | None:
    return next(iter(get_close_matches(event_type.upper(), catalogue.known_types(), n=1)), None)


def _known_types() -> str:
    return f"Known types: {', '.join(catalogue.known_types())}"


def _ask_type(session: Session) -> str:
    if not session.environment.interactive:
        raise UsageError("--type is missing", f"{_known_types()}.")
    session.output.message(_known_types())
    return _ask(session, "type")


def _ask(session: Session, question: str) -> str:
    while not (answer := session.output.ask(question)):
        pass
    return answer


def _data_text(session: Session, data: str | None) -> str | None:
    """Return the text of `--data`, read from a file or standard input where it names one."""
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


def _given_data(text: str | None, shorthand: Mapping[str, str | None]) -> dict[str, Any]:
    """Combine `--data` and the shorthand options; raise `UsageError` if it is no object or a field is given twice."""
    data = {} if text is None else _json_value(text, "--data")
    if not isinstance(data, dict):
        raise UsageError("--data can't be used: it is not a JSON object", """For example:  --data '{"itemId": "1"}'""")
    for name, value in shorthand.items():
        if value is None:
            continue
        if name in data:
            raise UsageError(f"{name} is given twice: by {_SHORTHANDS[name]} and in --data")
        data[name] = _number(value, _SHORTHANDS[name]) if name == "amount" else value
    return data


@dataclass(frozen=True, slots=True)
class _MissingField:
    """A field that a known type requires and that was not given, with its JSON schema."""

    name: str
    schema: Mapping[str, Any]

    @property
    def question(self) -> str:
        meaning = str(self.schema.get("description", "")).rstrip(".")
        return f"{self.name} ({meaning})" if meaning else self.name

    def parse(self, text: str) -> Any:
        """Convert an answer to the schema's type; strings need no quotes. Raises `UsageError`."""
        if self.schema.get("type", "string") == "string":
            return text
        if self.schema.get("type") in ("number", "integer"):
            return _number(text, self.name)
        return _json_value(text, self.name)


def _completed(session: Session, event_type: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the data with the fields that its type requires; missing ones are prompted for at a terminal."""
    missing = _missing_fields(event_type, data)
    if missing and not session.environment.interactive:
        raise _missing_fields_error(event_type, missing)
    completed = dict(data)
    for field in missing:
        while field.name not in completed:
            try:
                completed[field.name] = field.parse(_ask(session, field.question))
            except UsageError as error:
                session.output.error(CliError(error.message, error.hint))
    return completed


def _missing_fields(event_type: str, data: Mapping[str, Any]) -> list[_MissingField]:
    if event_type not in catalogue.known_types():
        return []
    schema = catalogue.schema(event_type)
    properties = schema.get("properties", {})
    return [_MissingField(name, properties.get(name, {})) for name in schema.get("required", []) if name not in data]


def _missing_fields_error(event_type: str, missing: Sequence[_MissingField]) -> UsageError:
    names = [field.name for field in missing]
    options = " ".join(f"{_SHORTHANDS[name]} {name.upper()}" for name in names if name in _SHORTHANDS)
    rest = [name for name in names if name not in _SHORTHANDS]
    by_data = f"--data JSON with {' and '.join(rest)}" if rest else "--data JSON"
    hint = f"Add {options} or {by_data}." if options else f"Add {by_data}."
    return UsageError(f"{event_type} requires {' and '.join(names)}", hint)


def _number(text: str, name: str) -> int | Decimal:
    """Parse a number and keep exactly the digits that were typed. Raises `UsageError`."""
    try:
        value = loads(text.strip())
    except NotJsonError:
        value = None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise UsageError(f"{name} can't be {text!r}: it is not a number", "Write a number like 225, -5 or 0.1.")
    return value


def _json_value(text: str, name: str) -> Any:
    """Parse any JSON value. Raises `UsageError`."""
    try:
        return loads(text)
    except NotJsonError as error:
        hint = """For example:  '{"itemId": "1", "amount": 225}'"""
        if re.match(r"\s*\{\s*[A-Za-z_]+\s*:", text):
            hint = "The shell removed the double quotes: enclose the JSON in single quotes."
        raise UsageError(f"{name} can't be used: {error}", hint) from error


@schemas_app.callback(invoke_without_command=True)
def schemas(
    context: typer.Context,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FORMAT", help="text or json.")] = "text",
) -> None:
    """Show the catalogue of known event types.

    Events of these types are validated against their JSON Schema before they are stored. Events of other types are
    stored unvalidated, or rejected if the stack is deployed with STRICT=true.
    """
    if context.invoked_subcommand is None:
        _list_schemas(context, local=False, stack_name=None, region=None, profile=None, output=output)


@command()
def _list_schemas(session: Session) -> None:
    known = [(name, catalogue.schema(name)) for name in catalogue.known_types()]
    if not session.output.is_text:
        session.output.json({"types": [_summary(name, schema) for name, schema in known]})
        return
    rows = []
    for name, schema in known:
        summary = _summary(name, schema)
        required, optional = ", ".join(summary["required"]), ", ".join(summary["optional"])
        rows.append((name, summary["version"], required, optional, summary["description"]))
    session.output.table(_SCHEMA_COLUMNS, rows, empty="The catalogue is empty.")
    session.output.hint("Show one:  esctl schemas show TYPE")


@schemas_app.command("show")
@command()
def show_schema(
    session: Session,
    event_type: Annotated[
        str, typer.Argument(metavar="TYPE", help="The event type.", autocompletion=catalogue.known_types)
    ],
) -> None:
    """Show the JSON Schema (draft-07) of one event type."""
    if event_type not in catalogue.known_types():
        near = _similar_type(event_type)
        meant = f" Did you mean {near}?" if near else ""
        raise NotFoundError(f"there is no event type {event_type!r} in the catalogue", f"{_known_types()}.{meant}")
    session.output.json(catalogue.schema(event_type))


def _summary(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    required = list(schema.get("required", []))
    return {
        "type": name,
        "version": catalogue.current_version(name),
        "required": required,
        "optional": [field for field in schema.get("properties", {}) if field not in required],
        "description": schema.get("description", schema.get("title", "")),
    }
