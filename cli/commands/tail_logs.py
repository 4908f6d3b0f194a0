"""`esctl tail-logs`: show the functions' logs, merged, or trace one event through them."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.errors import UsageError
from cli.operate.logs import Wanted, seconds
from cli.operate.logs_tail import find_event, function_logs, start_of, tail
from cli.operate.logs_trace import show_trace
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.output import Format


@command(Format.TEXT, Format.JSON, Format.JSONL)
def tail_logs(
    session: Session,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show new lines until Ctrl-C.")] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="How far back to start: 90s, 10m, 2h, 3d; 10m by default."),
    ] = None,
    function: Annotated[
        list[str] | None,
        typer.Option("--function", metavar="NAME", help="Only this function, for example Publisher; repeatable."),
    ] = None,
    text: Annotated[str, typer.Option("--filter", metavar="TEXT", help="Only lines that contain this text.")] = "",
    stream_id: Annotated[
        str | None, typer.Option("--stream-id", "-s", metavar="ID", help="Only lines about this stream.")
    ] = None,
    event: Annotated[
        str | None,
        typer.Option(
            "--event", metavar="N", help="Only lines about event N of --stream-id (default: the test stream)."
        ),
    ] = None,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Only lines with this request, correlation or invocation id."),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Show the stored lines unmodified.")] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Trace --event from the API to the read model, with timings.")
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long --trace waits for the last lines.")
    ] = 20.0,
) -> None:
    """Show the logs of all functions, merged by time.

    Ids may be abbreviated to a prefix.
    """
    number = _event_number(event)
    if trace:
        if number is None:
            raise UsageError(
                "--trace needs an event: add --event N, and --stream-id ID unless it is in the test stream"
            )
        if raw or follow:
            raise UsageError("--trace can't be combined with --follow or --raw: it shows one event's path and ends")
        traced = find_event(session.service, stream_id, number)
        show_trace(session.output, function_logs(session.target, session.clients), traced, timeout)
        return
    since_s = seconds(since) if since is not None else None
    logs = function_logs(session.target, session.clients, function or ())
    about, correlation_id = None, None
    if number is not None:
        about = find_event(session.service, stream_id, number)
        stream_id, correlation_id = about["streamId"], (about.get("metadata") or {}).get("correlationId")
    wanted = Wanted(text, stream_id, number, request_id, correlation_id)
    tail(session.output, logs, wanted, start_of(since_s, about), follow=follow, raw=raw)


def _event_number(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal():
        raise UsageError(f"--event can't be {text!r}: it is the number of an event in its stream, 0 or higher")
    return int(text)
