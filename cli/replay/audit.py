"""Compare read models with a fold of their history, or with themselves before a replay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from cli.client.records import Listing, ProjectionStatus, Row, RowQuery, StreamStatus
from cli.client.service import Service
from cli.errors import CliError, NotFoundError
from cli.replay.history import Bound, Fold, Histories, OnProgress, history
from cli.terminal.text import visible
from handlers.core.lossless_json import dumps
from handlers.projection.definition import Projection
from handlers.projection.keys import UnstorableError, decode_key, encode_key

Rows = Mapping[str, Row]
"""Rows by encoded key, without the key attributes."""

# Rows that differ are looked at again, each with a call, together with the streams that write them.
_SECOND_LOOKS_MAX = 500
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs between two states; None if it does not exist. The key is decoded: one part per attribute."""

    key: tuple[str, ...]
    one: Row | None
    other: Row | None


@dataclass(frozen=True, slots=True)
class Effect:
    """The differences between two states of a read model.

    Attributes
    ----------
    before, after
        Number of rows before and after a replay, or stored and expected.
    settled
        False if events were applied while the rows were read, which may explain some differences.
    checkpoint
        The checkpoint of the later state; None if the rows come from several streams.
    events, streams
        Number of events and streams folded for the comparison.
    stopped
        Streams that are halted: their later events are in neither state.
    """

    before: int
    after: int
    differences: tuple[Difference, ...]
    settled: bool = True
    checkpoint: int | None = None
    events: int = 0
    streams: int = 1
    stopped: tuple[StreamStatus, ...] = ()


def described(service: Service, projection: Projection) -> ProjectionStatus:
    """Return the status of a projection.

    Raises
    ------
    NotFoundError
        The stack has no such projection.
    """
    # The name is not sent: a stack without the projection would reject the query.
    found = next((each for each in service.projections(limit=1) if each.name == projection.name), None)
    if found is None:
        raise not_deployed(projection)
    return found


def not_deployed(projection: Projection) -> NotFoundError:
    """Return the error for a projection that only this machine knows."""
    return NotFoundError(
        f"the stack has no projection {projection.name}: its code is from another version", "Deploy:  esctl deploy"
    )


def check_follows(projection: Projection, stream_id: str | None) -> None:
    """Raise `NotFoundError` if a projection does not follow a stream."""
    if stream_id is not None and not projection.follows(stream_id):
        raise NotFoundError(f"the projection {projection.name} does not follow stream {visible(stream_id)}")


def new_fold(service: Service, projection: Projection) -> Fold:
    """Return an empty fold, which asks the stack about events that cannot be folded."""
    return Fold(projection, partial(service.stream_status, projection.name))


def audit(
    service: Service, projection: Projection, bound: Bound | None = None, on_progress: OnProgress | None = None
) -> Effect:
    """Compare a read model with a fold of its history. Writes nothing.

    The rows of one stream are compared at their checkpoint. Those of several streams are compared with all events; rows
    that then differ are compared again, at the checkpoints of the streams that write them.

    Raises
    ------
    HistoryTooLongError
    CliError
        A handler raises at an event that the read model has, or the rows cannot be read at one checkpoint.
    """
    if projection.only_stream is not None:
        return _audit_one(service, projection, projection.only_stream, bound or Bound(), on_progress)
    return _audit_several(service, projection, bound or Bound(), on_progress)


def _audit_one(
    service: Service, projection: Projection, stream_id: str, bound: Bound, on_progress: OnProgress | None
) -> Effect:
    listing = service.items(projection)
    if not listing.settled or listing.checkpoint is None:
        raise CliError(
            "cannot compare: events are applied faster than the rows can be read", "Try again when fewer events arrive."
        )
    bound.check_events(projection, listing.checkpoint + 1)
    fold = new_fold(service, projection)
    if listing.checkpoint >= 0:
        fold.events(history(service, stream_id, last=listing.checkpoint, on_progress=on_progress))
    for each in fold.stopped.values():
        raise each.error()
    effect = _effect(projection, rows_by_key(projection, listing.items), fold.rows)
    return replace(effect, checkpoint=listing.checkpoint, events=listing.checkpoint + 1)


def _audit_several(service: Service, projection: Projection, bound: Bound, on_progress: OnProgress | None) -> Effect:
    # The rows first: what is appended in the meantime is then missing from them, and found by the second look.
    listing = service.rows(projection.name, limit=None if bound.events is None else bound.events + 1)
    bound.check_events(projection, len(listing.items))
    histories = Histories(service, projection, bound, on_progress)
    fold = new_fold(service, projection)
    fold.all(histories)
    stored = rows_by_key(projection, listing.items)
    if any(key not in fold.sources for key in stored):
        fold.all(histories)  # a new stream is listed after about a second, when its rows may exist already
    for each in fold.stopped.values():
        if each.failure.event_id <= each.status.checkpoint:
            raise each.error()
    keys = [key for key in _ordered({*stored, *fold.rows}) if not same(stored.get(key), fold.rows.get(key))]
    found, settled = _looked_at_again(service, projection, fold, stored, keys)
    stopped = tuple(each.status for each in fold.stopped.values())
    return Effect(len(stored), len(fold.rows), found, settled, None, histories.events, histories.streams, stopped)


def _looked_at_again(
    service: Service, projection: Projection, fold: Fold, stored: Rows, keys: Sequence[str]
) -> tuple[tuple[Difference, ...], bool]:
    """Compare rows once more, at the checkpoints of their streams; returns the differences, and whether they are certain."""
    stream_ids = sorted({stream_id for key in keys for stream_id in fold.sources.get(key, ())})
    if len(keys) > _SECOND_LOOKS_MAX or len(stream_ids) > _SECOND_LOOKS_MAX:
        return _differing(projection, stored, fold.rows, keys), False

    def checkpoints() -> dict[str, int]:
        return {each: service.stream_status(projection.name, each).checkpoint for each in stream_ids}

    settled = not keys
    before = checkpoints() if keys else {}
    for _ in range(_ATTEMPTS):
        if settled:
            break
        stored = {key: row for key in keys if (row := _row(service, projection, key)) is not None}
        after = checkpoints()
        settled, before = before == after, after
    again = new_fold(service, projection)
    again.all(history(service, each, last=before[each]) for each in stream_ids if before[each] >= 0)
    return _differing(projection, stored, again.rows, keys), settled


def _row(service: Service, projection: Projection, key: str) -> Row | None:
    parts = decode_key(key, len(projection.key_attributes))
    text = parts[0] if len(parts) == 1 else dumps(parts)
    try:
        [row] = service.rows(projection.name, RowQuery(key=text)).items
    except NotFoundError:
        return None
    return {name: value for name, value in row.items() if name not in projection.key_attributes}


def changed(service: Service, projection: Projection, before: Listing, after: Listing) -> Effect:
    """Return what a replay changed.

    Events of a projection's only stream that were applied in the meantime are first folded into the earlier rows, so that
    they do not count as differences.
    """
    one, other = rows_by_key(projection, before.items), rows_by_key(projection, after.items)
    stream_id, checkpoint = projection.only_stream, after.checkpoint
    if stream_id is None or checkpoint is None or before.checkpoint is None or before.checkpoint >= checkpoint:
        effect = _effect(projection, one, other)
    else:
        fold = new_fold(service, projection)
        fold.rows.update(one)
        fold.events(history(service, stream_id, first=before.checkpoint + 1, last=checkpoint))
        effect = _effect(projection, fold.rows, other)
    settled = before.settled and after.settled
    return replace(effect, before=len(one), settled=settled, checkpoint=checkpoint)


def rows_by_key(projection: Projection, items: Iterable[Row]) -> dict[str, Row]:
    """Return rows by encoded key.

    Raises
    ------
    CliError
        A row lacks an attribute of the key: the deployed projection has another key.
    """
    names = projection.key_attributes
    found: dict[str, Row] = {}
    for item in items:
        try:
            key = encode_key([item.get(name) for name in names])
        except UnstorableError as error:
            raise CliError(
                f"the rows of {projection.name} have other keys than {' and '.join(names)}: "
                "the stack's code is from another version",
                "Deploy:  esctl deploy",
            ) from error
        found[key] = {name: value for name, value in item.items() if name not in names}
    return found


def key_fields(projection: Projection, key: Sequence[str]) -> dict[str, str]:
    """Return a decoded key as fields of a JSON object."""
    return dict(zip(projection.key_attributes, key, strict=True))


def same(one: object, other: object) -> bool:
    """Return whether DynamoDB considers two values equal: 1.50 equals 1.5, but true does not equal 1.

    Examples
    --------
    >>> same({"amount": Decimal("1.50")}, {"amount": Decimal("1.5")}), same(True, 1)
    (True, False)
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return one == other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def key_order(key: str) -> bytes:
    """Return the sort key that DynamoDB uses: UTF-8 bytes."""
    return key.encode(errors="surrogatepass")


def _ordered(keys: Collection[str]) -> list[str]:
    return sorted(keys, key=key_order)


def _effect(projection: Projection, one: Rows, other: Rows) -> Effect:
    found = _differing(projection, one, other, _ordered({*one, *other}))
    return Effect(len(one), len(other), found)


def _differing(projection: Projection, one: Rows, other: Rows, keys: Sequence[str]) -> tuple[Difference, ...]:
    """Return the differences of some rows, in the order of the keys."""
    parts = len(projection.key_attributes)
    return tuple(
        Difference(decode_key(key, parts), one.get(key), other.get(key))
        for key in keys
        if not same(one.get(key), other.get(key))
    )
