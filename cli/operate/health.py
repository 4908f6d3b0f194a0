"""Present a snapshot: faults and the commands that fix them, tables for the terminal, a document for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cli.client.records import BEHIND, HALTED, LIVE, Compared, ProjectionStatus, StreamStatus
from cli.config.targets import Target
from cli.operate.status import BACKLOG, QueueStatus, Snapshot
from cli.terminal.tables import Column
from cli.terminal.text import duration, plural, shell_word, visible
from handlers.core.clock import parse_rfc3339

STREAMS_SHOWN = 15
UNKNOWN = "n/a"

_ERROR_CHARACTERS = 200
# The reconciler triggers a stream that is behind every minute: after five, it does not only wait for its turn.
MAX_AGE_S = 300.0

# The word is sufficient; mark and colour only draw attention.
_MARKS = {LIVE: "✓", BEHIND: "…", HALTED: "✗"}
_STYLES = {LIVE: "green", BEHIND: "yellow", HALTED: "bold red"}
_SEVERITY = {HALTED: 0, BEHIND: 1, LIVE: 2}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that needs an operator.

    Attributes
    ----------
    kind
        ``api``, ``stack``, ``saving``, ``halted``, ``lag``, ``waiting`` or ``dead-letters``.
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
    for projection in snapshot.projections:
        found += _of_projection(projection, max_lag)
    for queue in snapshot.queues:
        found += _of_messages(queue)
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


def _of_projection(projection: ProjectionStatus, max_lag: int) -> list[Fault]:
    found = []
    for stream in projection.streams:
        found += _of_stream(stream, max_lag)
    name = projection.name
    listed = sum(stream.state == HALTED for stream in projection.streams)
    if projection.halted > listed or projection.more_halted:
        what = f"{name}: {projection.halted_text} streams are halted, {listed} of them listed here"
        found.append(Fault("halted", what, f"esctl projections {name}"))
    compared = projection.compared
    if compared is None or projection.is_complete:
        return found
    # The worst streams are listed and compared again; the others were no further behind than the last of the worst.
    others = compared.lagging - len(compared.worst)
    lag = min(compared.worst.values(), default=0)
    if others > 0 and lag > max_lag:
        what = f"{name}: {others:,} more streams were up to {lag:,} events behind, compared {_period(compared)}"
        found.append(Fault("lag", what, f"esctl projections {name}"))
    return found


def _of_stream(stream: StreamStatus, max_lag: int) -> list[Fault]:
    if stream.state == HALTED and stream.halted is not None:
        return [Fault("halted", halted_text(stream, _ERROR_CHARACTERS), resume_command(stream))]
    too_old = stream.lag > 0 and stream.lag_s is not None and stream.lag_s > MAX_AGE_S
    if stream.lag > max_lag or too_old:
        events = f"{plural(stream.lag, 'event')} behind"
        since = "" if stream.lag_s is None else f" for {duration(stream.lag_s)}"
        never = ", and was never projected" if stream.checkpoint < 0 else ""
        what = f"{stream.projection}: stream {visible(stream.stream_id)} is {events}{since}{never}"
        return [Fault("lag", what, "esctl tail-logs --since 10m")]
    return []


def _of_messages(queue: QueueStatus) -> list[Fault]:
    """Return a fault if messages of a queue wait without being processed."""
    if not queue.waiting:
        return []
    old = queue.oldest_s is not None and queue.oldest_s > MAX_AGE_S
    if not old and queue.moving is not False:
        return []
    since = f", the oldest for {duration(queue.oldest_s)}" if queue.oldest_s is not None else ", and do not get fewer"
    number = "1 message waits" if queue.waiting == 1 else f"{queue.waiting:,} messages wait"
    return [Fault("waiting", f"{number} in the queue of {queue.name}{since}", "esctl doctor --read-only")]


# -- what was checked ----------------------------------------------------------------------------------------------------


def coverage(projection: ProjectionStatus) -> str:
    """Return which streams were compared with their history, in one sentence."""
    number = len(projection.streams)
    streams = plural(number, "stream")
    if projection.is_complete:
        return f"{projection.name}: compared {'all ' if number > 1 else ''}{streams}"
    compared = projection.compared
    if compared is None:
        return f"{projection.name}: compared {streams}; the reconciler has not compared all streams yet"
    return (
        f"{projection.name}: compared {streams} directly; the reconciler compared {compared.streams:,} streams "
        f"{_period(compared)}"
    )


def unchecked(snapshot: Snapshot) -> list[str]:
    """Return what a snapshot cannot vouch for: while there is something, not all is known to be well."""
    found = [f"{what}: {why}" for what, why in snapshot.unknown.items()]
    for projection in snapshot.projections:
        if projection.is_complete:
            continue
        if projection.compared is None:
            found.append(coverage(projection))
        elif _overdue(projection.compared):
            found.append(
                f"{projection.name}: the reconciler has not compared its streams since "
                f"{projection.compared.finished_at[:16].replace('T', ' ')} UTC"
            )
    busy = [queue for queue in snapshot.queues if (queue.waiting or 0) > BACKLOG and not _of_messages(queue)]
    found += [f"{each.waiting:,} messages wait in the queue of {each.name}, and are being processed" for each in busy]
    return found


def _overdue(compared: Compared) -> bool:
    """Return whether the reconciler should have completed another round by now."""
    finished = parse_rfc3339(compared.finished_at)
    took = finished - parse_rfc3339(compared.started_at)
    # Streams are added, and this machine's clock may be minutes off.
    return datetime.now(UTC) > finished + 2 * took + timedelta(minutes=15)


def _period(compared: Compared) -> str:
    """Return when a round began and ended, with the dates if it was not all today."""
    times = [each[:16].replace("T", " ") for each in (compared.started_at, compared.finished_at)]
    today = datetime.now(UTC).date().isoformat()
    if all(each.startswith(today) for each in times):
        times = [each[11:] for each in times]
    return f"between {times[0]} and {times[1]} UTC"


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
    return [stream_section(snapshot.projections), _queues(snapshot), _functions(snapshot)]


def stream_section(projections: Sequence[ProjectionStatus], *, shown: int = STREAMS_SHOWN) -> Section:
    """Return the table of streams, the worst first, and which of them were compared."""
    streams = [stream for projection in projections for stream in projection.streams]
    ordered = sorted(streams, key=lambda each: (_SEVERITY.get(each.state, 0), -each.lag))
    rows = [_stream_row(each) for each in ordered[:shown]]
    notes = [f"and {len(ordered) - shown} more, none worse than these"] if len(ordered) > shown else []
    notes += [coverage(each) for each in projections if not each.is_complete]
    columns = (
        "projection",
        "stream",
        "state",
        Column("head", "right"),
        Column("checkpoint", "right"),
        Column("lag", "right"),
    )
    return Section("Projections", columns, rows, "\n".join(notes) or ("" if rows else "There are no streams yet."))


def state_text(stream: StreamStatus) -> str:
    """Return the state in a few words: ``✗ halted at 7``."""
    text = f"{_MARKS.get(stream.state, '?')} {stream.state}"
    if stream.state == HALTED and stream.halted is not None:
        text += f" at {stream.halted.event_id}"
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
        note = f"{plural(len(every) - len(busy), 'function')} had no invocations"
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
        "unchecked": unchecked(snapshot),
        "api": asdict(snapshot.api),
        "projections": [projection_document(each) for each in snapshot.projections],
        "streams": [stream_document(each) for each in snapshot.streams],
        "queues": [_camel(asdict(each)) for each in snapshot.queues],
        "functions": None if snapshot.functions is None else [asdict(each) for each in snapshot.functions],
        "unknown": dict(snapshot.unknown),
    }


def projection_document(projection: ProjectionStatus) -> dict[str, Any]:
    """Return one projection for scripts, without its streams."""
    document = _camel(asdict(replace(projection, streams=())))
    del document["streams"], document["moreHalted"]
    halted = {"count": projection.halted, "more": projection.more_halted}
    # Attribute names and stream ids are data, not names of fields.
    compared = projection.compared
    if compared is not None:
        document["compared"] |= {"worst": [{"streamId": each, "lag": lag} for each, lag in compared.worst.items()]}
    indexes = [{"attribute": name, "sort": sort} for name, sort in projection.indexes.items()]
    follows = {"prefix": projection.follows} if isinstance(projection.follows, str) else projection.follows
    return document | {
        "halted": halted,
        "indexes": indexes,
        "follows": follows,
        "outdated": projection.is_outdated,
        "coverage": coverage(projection),
    }


def stream_document(stream: StreamStatus) -> dict[str, Any]:
    """Return one stream for scripts."""
    return _camel(asdict(stream)) | {"skipped": len(stream.skipped)}


def _camel(values: dict[str, Any]) -> dict[str, Any]:
    """Rename keys as in the API: ``lag_s`` becomes ``lagSeconds``."""
    named = {}
    for name, value in values.items():
        head, *rest = name.removesuffix("_s").split("_")
        named[head + "".join(map(str.capitalize, rest)) + ("Seconds" if name.endswith("_s") else "")] = (
            _camel(value) if isinstance(value, dict) else value
        )
    return named
