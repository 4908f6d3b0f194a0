"""Present a snapshot: faults and the commands that fix them, tables for the terminal, a document for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cli.client.service import BEHIND, HALTED, LIVE, REPLAYING, StreamStatus
from cli.config.targets import Target
from cli.operate.status import QueueStatus, Snapshot
from cli.terminal.tables import Column
from cli.terminal.text import duration, shell_word, visible

STREAMS_SHOWN = 15
UNKNOWN = "n/a"

_ERROR_CHARACTERS = 200

# The word is sufficient; mark and colour only draw attention.
_MARKS = {LIVE: "✓", BEHIND: "…", HALTED: "✗", REPLAYING: "↻"}
_STYLES = {LIVE: "green", BEHIND: "yellow", HALTED: "bold red", REPLAYING: "cyan"}
_SEVERITY = {HALTED: 0, BEHIND: 1, REPLAYING: 2, LIVE: 3}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that needs an operator.

    Attributes
    ----------
    kind
        ``api``, ``stack``, ``saving``, ``halted``, ``lag`` or ``dead-letters``.
    hint
        The next command; empty if there is none.
    """

    kind: str
    what: str
    hint: str = ""


def faults(snapshot: Snapshot, max_lag: int) -> list[Fault]:
    """Return the faults in a snapshot; a stream may be ``max_lag`` events behind."""
    found = []
    if not snapshot.api.ok:
        found.append(Fault("api", f"the API does not answer: {snapshot.api.error}", "esctl doctor"))
    if snapshot.stack_status is not None and not _sound(snapshot.stack_status):
        found.append(Fault("stack", f"the stack is in {snapshot.stack_status}", "esctl deploy"))
    if snapshot.unsaved is not None:
        found.append(Fault("saving", f"the local target can't save its data: {snapshot.unsaved}", "esctl local status"))
    for stream in snapshot.streams:
        found += _of_stream(stream, max_lag)
    for queue in snapshot.queues:
        if queue.dead_letters:
            number = f"{queue.dead_letters} dead letter{'' if queue.dead_letters == 1 else 's'}"
            found.append(Fault("dead-letters", f"{number} of {queue.name}", f"esctl dead-letters list {queue.name}"))
    return found


def halted_text(stream: StreamStatus, error_max: int | None = None) -> str:
    """Describe in one line where and why a stream is halted."""
    where = f"{stream.projection}: stream {visible(stream.stream_id)}"
    if stream.halted is None:
        return f"{where} is not halted"
    return f"{where} is halted at event {stream.halted.event_id}: {stream.halted.error[:error_max]}"


def resume_command(stream: StreamStatus) -> str:
    """Return the command that retries the event at which a stream is halted."""
    return f"esctl projections resume {stream.projection} --stream-id {shell_word(stream.stream_id)}"


def skip_command(stream: StreamStatus) -> str:
    """Return the command that skips the event at which a stream is halted."""
    event_id = stream.halted.event_id if stream.halted else stream.checkpoint + 1
    return (
        f"esctl projections skip {stream.projection} --stream-id {shell_word(stream.stream_id)} --event-id {event_id}"
    )


def _of_stream(stream: StreamStatus, max_lag: int) -> list[Fault]:
    if stream.state == HALTED and stream.halted is not None:
        return [Fault("halted", halted_text(stream, _ERROR_CHARACTERS), resume_command(stream))]
    if stream.lag > max_lag:
        what = f"{stream.projection}: stream {stream.stream_id} is {stream.lag} events behind"
        return [Fault("lag", what, "esctl tail-logs --since 10m")]
    return []


def _sound(stack_status: str) -> bool:
    """Return whether a stack in this state works as deployed, possibly during an update."""
    if stack_status.endswith("_IN_PROGRESS"):
        return not stack_status.startswith(("DELETE", "ROLLBACK"))
    return stack_status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True, slots=True)
class Section:
    """One table; ``note`` is shown below it, or in its place if there are no rows."""

    title: str
    columns: Sequence[Column | str]
    rows: Sequence[Sequence[object]]
    note: str = ""


def headline(target: Target, snapshot: Snapshot) -> str:
    """Return the first line: the stack, its state, and whether its API answers."""
    api = snapshot.api
    answers = f"API answers in {api.milliseconds:.0f} ms" if api.ok else "API does not answer"
    return f"{target.label} · {snapshot.stack_status or 'state ' + UNKNOWN} · {answers}"


def sections(snapshot: Snapshot) -> list[Section]:
    """Return the tables of the screen."""
    return [stream_section(snapshot.streams, snapshot.more_streams), _queues(snapshot), _functions(snapshot)]


def stream_section(streams: Sequence[StreamStatus], more: Sequence[str] = (), *, shown: int = STREAMS_SHOWN) -> Section:
    """Return the table of streams, the worst first."""
    ordered = sorted(streams, key=lambda each: (_SEVERITY.get(each.state, 0), -each.lag))
    rows = [_stream_row(each) for each in ordered[:shown]]
    notes = []
    if len(ordered) > shown:
        notes.append(f"and {len(ordered) - shown} more, none worse than these")
    notes += [f"{name} has more streams than are shown" for name in more]
    columns = (
        "projection",
        "stream",
        "state",
        Column("head", "right"),
        Column("checkpoint", "right"),
        Column("lag", "right"),
    )
    return Section("Projections", columns, rows, "; ".join(notes) or ("" if rows else "There are no streams yet."))


def state_text(stream: StreamStatus) -> str:
    """Return the state in a few words: ``✗ halted at 7``."""
    text = f"{_MARKS.get(stream.state, '?')} {stream.state}"
    if stream.state == HALTED and stream.halted is not None:
        text += f" at {stream.halted.event_id}"
    if stream.replay is not None:
        kind = stream.replay.kind
        running = (
            f"{'' if stream.state == REPLAYING and kind == 'replay' else kind + ' '}{stream.replayed_percent or 0} %"
        )
        text += f" {running}" if stream.state == REPLAYING else f", {running}"
    return text


def styled_state(stream: StreamStatus) -> object:
    """Return the state for a terminal."""
    from rich.text import Text

    return Text(state_text(stream), style=_STYLES.get(stream.state, ""))


def _stream_row(stream: StreamStatus) -> tuple[object, ...]:
    return (
        stream.projection,
        stream.stream_id,
        state_text(stream),
        "none" if stream.head < 0 else stream.head,
        "none" if stream.checkpoint < 0 else stream.checkpoint,
        stream.lag if stream.lag_s is None else f"{stream.lag} ({duration(stream.lag_s)})",
    )


def _queues(snapshot: Snapshot) -> Section:
    columns = (
        "queue",
        Column("waiting", "right"),
        Column("in flight", "right"),
        Column("oldest", "right"),
        Column("dead letters", "right"),
    )
    rows = [_queue_row(each) for each in snapshot.queues]
    return Section("Queues", columns, rows, _why(snapshot, "queues"))


def _queue_row(queue: QueueStatus) -> tuple[object, ...]:
    return (
        queue.name,
        _or_unknown(queue.waiting),
        _or_unknown(queue.in_flight),
        _oldest(queue),
        _or_unknown(queue.dead_letters),
    )


def _oldest(queue: QueueStatus) -> str:
    if queue.oldest_s is None:
        return "" if queue.waiting == 0 and queue.in_flight == 0 else UNKNOWN
    return duration(queue.oldest_s)


def _functions(snapshot: Snapshot) -> Section:
    counts = [Column(name, "right") for name in ("calls", "errors", "throttles")]
    columns: list[Column | str] = ["function, last hour", *counts]
    every = snapshot.functions or ()
    busy = [each for each in every if each.invocations or each.errors or each.throttles]
    rows = [(each.name, each.invocations, each.errors, _or_unknown(each.throttles)) for each in busy]
    note = _why(snapshot, "functions")
    if not note and len(busy) < len(every):
        idle = len(every) - len(busy)
        note = f"{idle} function{'' if idle == 1 else 's'} had no invocations"
    return Section("Functions", columns, rows, note)


def _why(snapshot: Snapshot, what: str) -> str:
    why = snapshot.unknown.get(what)
    return f"{UNKNOWN}: {why}" if why else ""


def _or_unknown(value: object) -> object:
    return UNKNOWN if value is None else value


def document(target: Target, snapshot: Snapshot, found: Sequence[Fault]) -> dict[str, Any]:
    """Return the snapshot for scripts; unknown values are null."""
    return {
        "target": target.kind,
        "stackName": target.stack_name,
        "account": target.account,
        "region": target.region,
        "stackStatus": snapshot.stack_status,
        "healthy": not found,
        "faults": [asdict(fault) for fault in found],
        "api": asdict(snapshot.api),
        "streams": [stream_document(each) for each in snapshot.streams],
        "moreStreams": list(snapshot.more_streams),
        "queues": [_camel(asdict(each)) for each in snapshot.queues],
        "functions": None if snapshot.functions is None else [asdict(each) for each in snapshot.functions],
        "unknown": dict(snapshot.unknown),
    }


def stream_document(stream: StreamStatus) -> dict[str, Any]:
    """Return one stream for scripts."""
    document = _camel(asdict(stream))
    return document | {"skipped": len(stream.skipped), "replayedPercent": stream.replayed_percent}


def _camel(values: dict[str, Any]) -> dict[str, Any]:
    """Rename keys as in the API: ``lag_s`` becomes ``lagSeconds``."""
    named = {}
    for name, value in values.items():
        head, *rest = name.removesuffix("_s").split("_")
        named[head + "".join(map(str.capitalize, rest)) + ("Seconds" if name.endswith("_s") else "")] = (
            _camel(value) if isinstance(value, dict) else value
        )
    return named
