"""Finding work for which no message is in flight (P6), a bounded amount per run: stalled streams, replays and sweeps.

A run compares at most 500 heads with checkpoints and records where it stopped, so a few streams are all compared in every
run, and a million in turn. Runs are the only measure of time here: nothing compares the clocks of different machines.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from handlers.core.clock import Clock, rfc3339
from handlers.core.events import NO_EVENTS, StreamId
from handlers.projection import transitions
from handlers.projection.engine import Code
from handlers.projection.port import Change, Commit, OutdatedError, ReadModel, read_control
from handlers.projection.state import REPLAY, Control, Document, JobItem, ReconcilerItem, StreamState
from handlers.store import EventStore
from handlers.store.port import StreamPage

RECONCILER = ReconcilerItem()

# A head is one query of about 5 ms: 500 take a few seconds of the minute between two runs.
MAX_HEADS = 500
# For a prefix, ids that are not followed are read too, but no heads: at most ten pages of a thousand ids per run.
MAX_PAGES = 10
PAGE_IDS = 1000
# As many states as one call reads.
BATCH = 100
# Streams that lag are compared again in the next run, whatever its turn: a lag stays visible, and a long catch-up goes on,
# until it is gone. With the largest ids these are 50 KB of the record.
MAX_WATCHED = 50
MAX_WORST = 10
# A task of a replay ends within two minutes and has then made progress (stack/replay.py): if a job's record is the same as
# two runs before, nobody is working on it.
STALLED_RUNS = 2
# The previous generation is kept for a rollback for a day of runs, one per minute (docs/rules.md, "Replay").
KEEP_PREVIOUS_RUNS = 24 * 60


# -- what a run finds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lag:
    """A stream's head and its state in the active generation."""

    stream_id: StreamId
    head: int
    state: StreamState

    @property
    def events(self) -> int:
        """Head minus checkpoint."""
        return max(0, self.head - self.state.checkpoint)

    @property
    def needs_trigger(self) -> bool:
        """True if a message would help: the stream lags and is not halted."""
        return self.events > 0 and not self.state.is_halted


@dataclass(frozen=True, slots=True)
class Round:
    """One comparison of all streams, over as many runs as it takes.

    Attributes
    ----------
    streams, lagging
        Number of streams compared, and of those with a lag.
    lag
        The largest lag, in events.
    worst
        The streams with the largest lags.
    """

    started_at: str
    finished_at: str | None = None
    streams: int = 0
    lagging: int = 0
    lag: int = 0
    worst: tuple[tuple[StreamId, int], ...] = ()

    def with_lags(self, found: Collection[Lag]) -> Round:
        """Return the round including more streams."""
        behind = [(each.stream_id, each.events) for each in found if each.events]
        worst = sorted((*self.worst, *behind), key=lambda each: -each[1])[:MAX_WORST]
        return replace(
            self,
            streams=self.streams + len(found),
            lagging=self.lagging + len(behind),
            lag=max(self.lag, largest(found)),
            worst=tuple(worst),
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Round | None:
        """Parse a round of the record; None if there is none."""
        if document is None:
            return None
        return cls(
            document["startedAt"],
            document.get("finishedAt"),
            int(document["streams"]),
            int(document["lagging"]),
            int(document["lag"]),
            tuple((StreamId(each["streamId"]), int(each["lag"])) for each in document.get("worst", ())),
        )

    def to_document(self) -> Document:
        """Return the round as it is recorded and answered."""
        document: Document = {
            "startedAt": self.started_at,
            "streams": self.streams,
            "lagging": self.lagging,
            "lag": self.lag,
            "worst": [{"streamId": stream_id, "lag": lag} for stream_id, lag in self.worst],
        }
        return document if self.finished_at is None else {**document, "finishedAt": self.finished_at}


@dataclass(frozen=True, slots=True)
class Record:
    """What a run leaves for the next one.

    Attributes
    ----------
    runs
        Number of runs so far.
    after
        The stream to continue after; None: a new round begins.
    round, last
        The round that is not complete yet, and the last complete one.
    watched
        Streams that lagged in this run.
    jobs
        Of each running job, a digest of its progress and the run that saw it first.
    kept
        The previous generation, and the run that saw it first.
    compared
        True once all streams of a new projection have been compared: no history lacks states.
    """

    runs: int = 0
    after: StreamId | None = None
    round: Round | None = None
    last: Round | None = None
    watched: tuple[StreamId, ...] = ()
    jobs: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    kept: tuple[int, int] | None = None
    compared: bool = False

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Record:
        """Parse the record; empty before the first run."""
        kept = document.get("kept")
        return cls(
            int(document.get("runs", 0)),
            document.get("after"),
            Round.from_document(document.get("round")),
            Round.from_document(document.get("last")),
            tuple(map(StreamId, document.get("watched", ()))),
            {each: (job["progress"], int(job["since"])) for each, job in document.get("jobs", {}).items()},
            None if kept is None else (int(kept["generation"]), int(kept["since"])),
            bool(document.get("compared", False)),
        )

    def to_document(self) -> Document:
        """Return the record's document."""
        jobs = {each: {"progress": progress, "since": since} for each, (progress, since) in self.jobs.items()}
        document = {
            "runs": self.runs,
            "after": self.after,
            "round": None if self.round is None else self.round.to_document(),
            "last": None if self.last is None else self.last.to_document(),
            "watched": list(self.watched) or None,
            "jobs": jobs or None,
            "kept": None if self.kept is None else {"generation": self.kept[0], "since": self.kept[1]},
            "compared": self.compared or None,
        }
        return {name: value for name, value in document.items() if value is not None}

    def change_to(self, after: Record) -> Change[Record]:
        """Return the change to another record, on condition that no other run has changed it."""
        put = after.to_document()
        gone = tuple(name for name in self.to_document() if name not in put)
        return Change(RECONCILER, {"runs": self.runs or None}, put, gone, after)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found and did, for its log and metrics.

    Attributes
    ----------
    streams
        Number of streams compared.
    refused
        Triggers that the queue refused; the next run compares the same streams again.
    resent
        Jobs whose message was sent again because they had made no progress.
    halted
        Number of halted streams, at most 100.
    lag
        The largest lag, in events.
    backfill
        True if a replay was started because history had never been projected.
    complete
        True if this run completed a round.
    """

    streams: int
    triggered: int
    refused: int
    resent: int
    swept: int
    retired: bool
    backfill: bool
    halted: int
    lag: int
    complete: bool


class Actions(Protocol):
    """What a run has others do, through messages, and the jobs that they do."""

    def running(self) -> Sequence[Document]:
        """Return the records of the projection's recent jobs that have not ended."""
        ...

    def trigger(self, lags: Sequence[Lag]) -> int:
        """Have streams caught up; returns the number of messages that were refused."""
        ...

    def resend(self, replay_id: str) -> None:
        """Send the message of a running job again."""
        ...

    def sweep(self, generation: int) -> None:
        """Have an abandoned generation deleted."""
        ...

    def backfill(self) -> None:
        """Start a replay of the whole projection, unless one is running."""
        ...


# -- a run ---------------------------------------------------------------------------------------------------------------


class Reconciler:
    """Compares heads with checkpoints for one projection, and keeps its replays and sweeps going."""

    def __init__(self, code: Code, store: EventStore, read_model: ReadModel, clock: Clock, actions: Actions) -> None:
        self._code = code
        self._projection = code.current
        self._store = store
        self._read_model = read_model
        self._clock = clock
        self._actions = actions

    def run(self, has_time: Callable[[], bool] = lambda: True) -> Report:
        """Do one run; ``has_time`` is asked before each batch of streams."""
        record = Record.from_document(self._read_model.read(RECONCILER))
        control = self._adopted(read_control(self._read_model))
        self._projection = self._code.of(control.fingerprint)  # it decides which streams are followed (G10)
        jobs, resent = self._continue_jobs(control, record)
        kept = _kept(control, record)
        control, retired = self._retired(control, kept, record.runs)
        for generation in control.sweep:
            self._actions.sweep(generation)

        watched = self._lags(control.active, [each for each in record.watched if self._projection.follows(each)])
        found, after, complete = self._compare(control.active, record.after, MAX_HEADS - len(record.watched), has_time)
        lags = list({each.stream_id: each for each in (*watched, *found)}.values())
        unseen = [each for each in lags if not each.state.exists]
        is_new = control.version == 0 and not record.compared
        # A replay builds the streams that the projection has never seen, at less cost than one by one.
        replayed = unseen if is_new or (control.building is not None and control.building.kind == REPLAY) else []
        stale = [each for each in lags if each.needs_trigger and each not in replayed]
        refused = self._actions.trigger(stale)

        current = (record.round or Round(self._now())).with_lags(found)
        if complete:
            current = replace(current, finished_at=self._now())
        if not refused:  # otherwise the next run does the same again
            self._save(
                record,
                Record(
                    runs=record.runs + 1,
                    after=after,
                    round=None if complete else current,
                    last=current if complete else record.last,
                    watched=_to_watch(lags),
                    jobs=jobs,
                    kept=kept,
                    compared=not is_new or (complete and not unseen),
                ),
            )
        # A stream without a state may only be new. One run later, the projector has never been told of it.
        backfill = is_new and any(each.stream_id in record.watched for each in unseen)
        if backfill:
            self._actions.backfill()
        return Report(
            streams=len(found),
            triggered=len(stale) - refused,
            refused=refused,
            resent=resent,
            swept=len(control.sweep),
            retired=retired,
            backfill=backfill,
            halted=len(self._read_model.halted(control.active)),
            lag=largest(lags),
            complete=complete,
        )

    # -- the control item ----------------------------------------------------------------------------------------------

    def _adopted(self, control: Control) -> Control:
        """Record which code folds the active generation of a new projection."""
        if control.exists:
            return control
        change = transitions.adopt(control, self._code.fingerprint)
        try:
            self._read_model.commit(Commit((change,)))
        except OutdatedError:  # a replay came first
            return read_control(self._read_model)
        return change.after

    def _retired(self, control: Control, kept: tuple[int, int] | None, runs: int) -> tuple[Control, bool]:
        """Abandon the previous generation after a day; a replay or a rollback that runs needs it, or has dropped it."""
        if kept is None or control.building is not None or runs - kept[1] < KEEP_PREVIOUS_RUNS:
            return control, False
        change = transitions.retire_previous(control)
        try:
            self._read_model.commit(Commit.of_control(change))
        except OutdatedError:  # a replay or a rollback came first
            return control, False
        return change.after, True

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _continue_jobs(self, control: Control, record: Record) -> tuple[dict[str, tuple[str, int]], int]:
        """Send the messages of jobs again that make no progress; returns the progress of all, and how many these are."""
        running = {each["replayId"]: each for each in self._actions.running()}
        if control.building is not None:
            # Not from the index of recent jobs, which may not have it yet, or any more.
            replay_id = control.building.replay_id
            running[replay_id] = self._read_model.read(JobItem(replay_id))
        seen: dict[str, tuple[str, int]] = {}
        resent = 0
        for replay_id, job in running.items():
            progress = self._progress(control, job)
            before, since = record.jobs.get(replay_id, ("", record.runs))
            seen[replay_id] = (progress, since if progress == before else record.runs)
            if record.runs - seen[replay_id][1] >= STALLED_RUNS:
                self._actions.resend(replay_id)
                seen[replay_id] = (progress, record.runs)
                resent += 1
        return seen, resent

    def _progress(self, control: Control, job: Document) -> str:
        """Return a digest of a job's progress: of its record, and of the streams that it names."""
        named = [StreamId(job["streamId"])] if "streamId" in job else list(self._projection.streams or ())[:BATCH]
        states = self._read_model.load(job.get("generation", control.active), named).states if named else {}
        checkpoints = [states[each].checkpoint for each in named]
        text = json.dumps([job, checkpoints], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _save(self, before: Record, after: Record) -> None:
        with suppress(OutdatedError):  # another run has compared the same streams
            self._read_model.commit(Commit((before.change_to(after),)))

    # -- streams -------------------------------------------------------------------------------------------------------

    def _compare(
        self, generation: int, after: StreamId | None, heads: int, has_time: Callable[[], bool]
    ) -> tuple[list[Lag], StreamId | None, bool]:
        """Compare the next streams; returns them, where to continue, and whether these were the last ones."""
        found: list[Lag] = []
        for _ in range(MAX_PAGES):
            page = self._page(after, heads)
            followed = [each for each in page.stream_ids if self._projection.follows(each)]
            for batch in _batches(followed[:heads]):
                if not has_time():
                    return found, after, False
                found += self._lags(generation, batch)
                after = batch[-1]
            if len(followed) > heads:
                return found, after, False
            heads -= len(followed)
            after = page.next_position
            if after is None or not heads:
                break
        return found, after, after is None

    def _page(self, after: StreamId | None, heads: int) -> StreamPage:
        """Return the ids of the next streams, including some that a prefix does not match."""
        if self._projection.streams is None:
            return self._store.streams(limit=heads if self._projection.prefix is None else PAGE_IDS, after=after)
        names = sorted(self._projection.streams)
        first = 0 if after is None else bisect_right(names, after)
        chosen = names[first : first + heads]
        return StreamPage(tuple(chosen), chosen[-1] if first + heads < len(names) else None)

    def _lags(self, generation: int, stream_ids: Sequence[StreamId]) -> list[Lag]:
        """Compare streams that have events. Heads are read first: a state read before its head shows a lag that is none."""
        if not stream_ids:
            return []
        heads = {stream_id: self._store.head(stream_id) for stream_id in stream_ids}
        states = self._read_model.load(generation, stream_ids).states
        return [Lag(each, head, states[each]) for each, head in heads.items() if head != NO_EVENTS]

    def _now(self) -> str:
        return rfc3339(self._clock.now())


def largest(lags: Iterable[Lag]) -> int:
    """Return the largest lag in events; 0 if nothing lags."""
    return max((lag.events for lag in lags), default=0)


def _kept(control: Control, record: Record) -> tuple[int, int] | None:
    """Return the previous generation and the run since which it is kept."""
    if control.previous is None:
        return None
    generation = control.previous.generation
    return record.kept if record.kept is not None and record.kept[0] == generation else (generation, record.runs)


def _to_watch(lags: Iterable[Lag]) -> tuple[StreamId, ...]:
    """Return the streams to compare again: those never projected, then those that a message helps, then halted ones."""
    behind = [each for each in lags if each.events]
    behind.sort(key=lambda each: (each.state.exists, each.state.is_halted, -each.events))
    return tuple(each.stream_id for each in behind[:MAX_WATCHED])


def _batches(stream_ids: Sequence[StreamId]) -> Iterator[Sequence[StreamId]]:
    return (stream_ids[start : start + BATCH] for start in range(0, len(stream_ids), BATCH))
