"""The replay worker: builds a generation that nobody reads yet, joins the live streams, and switches (docs/rules.md)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from handlers.core.clock import Clock, rfc3339
from handlers.core.errors import HandlerFailedError
from handlers.core.events import EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection import transitions
from handlers.projection.engine import AbandonedError, Projector
from handlers.projection.port import Change, Commit, OutdatedError, ReadModel
from handlers.projection.state import Control, JobItem
from handlers.replay import jobs
from handlers.replay.build import Builder
from handlers.replay.in_place import CannotReplayStreamError, replay_stream
from handlers.replay.jobs import ReplayJob, Segment
from handlers.replay.join import Joiner, OutOfTimeError, shards_of
from handlers.store import EventStore

HasTime = Callable[[], bool]


class ReplayWorker:
    """Runs the jobs of one projection.

    Parameters
    ----------
    send
        Sends the message for a segment of a job to any worker.
    pause
        Called before a retry with the number of races lost before.
    """

    def __init__(
        self,
        projector: Projector,
        store: EventStore,
        read_model: ReadModel,
        clock: Clock,
        *,
        send: Callable[[str, int], None],
        pause: Callable[[int], None] = lambda lost: None,
    ) -> None:
        self._projector = projector
        self._store = store
        self._read_model = read_model
        self._clock = clock
        self._send = send
        self._builder = Builder(projector, store, read_model, pause=pause)
        self._joiner = Joiner(projector, read_model, pause=pause)

    @property
    def events_done(self) -> int:
        """Number of events that this worker has folded."""
        return self._builder.events_done

    def work(self, replay_id: str, segment: int | None, has_time: HasTime) -> bool:
        """Work on a segment of a job until nothing is left or ``has_time`` returns False; True if nothing is left.

        Safe to call at any time, from any number of workers, for any job: the stored records determine what to do.

        Parameters
        ----------
        segment
            None: start all segments.
        """
        begun = False
        while True:
            document = self._read_model.read(JobItem(replay_id))
            if "startedAt" not in document:
                self._give_up(replay_id)
                return True
            job = ReplayJob.from_document(document)
            if job.ended:
                return True
            if job.in_place:
                return self._in_place(job, has_time)
            control = self._projector.control(fresh=True)
            building = control.building
            if building is None or building.replay_id != replay_id or building.generation != job.generation:
                return True  # it has ended since
            try:
                if building.kind == jobs.REPLAY and building.fingerprint != self._projector.code.fingerprint:
                    if begun:  # code deployed since does it now
                        return True
                    self._restart(control, job)
                    segment = None
                    continue
                begun = True
                if segment is None:
                    segment = self._start(job)
                if not job.segments[segment].done and not self._work(control, job, segment, has_time):
                    self._send(replay_id, segment)
                    return False
                if not self._finish_phase(control, replay_id, segment):
                    return True
                segment = None
            except OutOfTimeError:
                self._send(replay_id, segment or 0)
                return False
            except (OutdatedError, AbandonedError):
                if not has_time():
                    self._send(replay_id, segment or 0)
                    return False

    def sweep(self, generation: int, has_time: HasTime) -> bool:
        """Delete an abandoned generation; True when nothing of it is left (G8)."""
        if generation not in self._projector.control(fresh=True).sweep:
            return True
        while not self._read_model.sweep(generation):
            if not has_time():
                return False
        while True:
            control = self._projector.control(fresh=True)
            if generation not in control.sweep:
                return True
            change = transitions.swept(control, generation)
            try:
                self._read_model.commit(Commit.of_control(change))
            except OutdatedError:
                continue
            return True

    # -- phases --------------------------------------------------------------------------------------------------------

    def _start(self, job: ReplayJob) -> int:
        """Send the messages of all segments but the first one; returns that one."""
        first, *others = job.unfinished
        for each in others:
            self._send(job.replay_id, each)
        return first

    def _give_up(self, replay_id: str) -> None:
        """Abandon what a job builds whose record has expired: it could neither go on nor be cancelled."""
        control = self._projector.control(fresh=True)
        if control.building is not None and control.building.replay_id == replay_id:
            with suppress(OutdatedError):  # the reconciler sends the message again
                self._read_model.commit(Commit.of_control(transitions.abandon(control)))

    def _restart(self, control: Control, job: ReplayJob) -> None:
        """Begin again in another generation: the code has changed since (R6)."""
        changed = transitions.restart(control, self._projector.code.fingerprint)
        begun = jobs.restart(job, control.next_generation, self._projector.code.fingerprint)
        self._read_model.commit(Commit.of_control(changed, begun))

    def _work(self, control: Control, job: ReplayJob, index: int, has_time: HasTime) -> bool:
        """Work on a segment; True if it is complete, and recorded as such."""
        if job.phase == jobs.BUILD:
            named = self._projector.code.current.streams
            if named is not None:
                return self._build_named(control, job, index, named[index :: len(job.segments)], has_time)
            return self._build_scanned(control, job, index, has_time)
        return self._join(control, job, index, has_time)

    def _build_named(
        self, control: Control, job: ReplayJob, index: int, stream_ids: tuple[StreamId, ...], has_time: HasTime
    ) -> bool:
        segment = job.segments[index]
        if not stream_ids:  # the code with which the job restarted follows fewer streams than it has segments
            self._record(jobs.advance_segment(job, index, replace(segment, done=True)))
        for number in range(int(segment.after or 0), len(stream_ids)):
            same = jobs.same_segment(job, index)
            state, complete = self._builder.build_stream(control, stream_ids[number], same, has_time)
            if not complete:
                return False
            last = number + 1 == len(stream_ids)
            segment = Segment(str(number + 1), segment.events + state.checkpoint + 1, last)
            change = jobs.advance_segment(job, index, segment)
            # Together, so that no other worker has begun a page of the stream since.
            self._read_model.commit(Commit((change, transitions.unchanged(state))))
            job = change.after
            if not last and not has_time():
                return False
        return True

    def _build_scanned(self, control: Control, job: ReplayJob, index: int, has_time: HasTime) -> bool:
        segment = job.segments[index]
        while not segment.done:
            page = self._store.scan(index, len(job.segments), after=segment.after)
            used = self._builder.build_page(control, page.events)
            segment = Segment(page.next_position, segment.events + used, page.next_position is None)
            job = self._record(jobs.advance_segment(job, index, segment))
            if not segment.done and not has_time():
                return False
        return True

    def _join(self, control: Control, job: ReplayJob, index: int, has_time: HasTime) -> bool:
        named = self._projector.code.of(job.fingerprint).streams
        if named is not None:
            self._joiner.join_named(control, named[index :: len(job.segments)], has_time)
            self._record(jobs.advance_segment(job, index, replace(job.segments[index], done=True)))
            return True
        shards = list(shards_of(index, len(job.segments)))
        number, _, position = (job.segments[index].after or f"{shards[0]}:").partition(":")
        for shard in (each for each in shards if each >= int(number)):
            after = StreamId(position) if shard == int(number) and position else None
            while True:
                page = self._read_model.states(control.active, shard, after=after)
                self._joiner.join(control, page.states, has_time)
                after = page.after
                last = after is None and shard == shards[-1]
                place = f"{shard}:{after}" if after is not None else f"{shard + 1}:"
                segment = replace(job.segments[index], after=place, done=last)
                if last or after is not None or not has_time():
                    job = self._record(jobs.advance_segment(job, index, segment))
                if not last and not has_time():
                    return False
                if after is None:
                    break
        return True

    def _finish_phase(self, control: Control, replay_id: str, segment: int) -> bool:
        """Go on to the next phase, or switch, if all segments are done; True if there is a next phase."""
        job = ReplayJob.from_document(self._read_model.read(JobItem(replay_id)))
        if job.ended or job.generation != (control.building.generation if control.building else None):
            return False
        if not all(each.done for each in job.segments):
            return False
        if job.phase == jobs.BUILD:
            self._record(jobs.begin_join(job))
            return True
        at = rfc3339(self._clock.now())
        switched, end = transitions.switch(control, at), transitions.end_job(replay_id, jobs.DONE, at)
        self._read_model.commit(Commit.of_control(switched, end))
        return False

    def _record(self, change: Change[ReplayJob]) -> ReplayJob:
        self._read_model.commit(Commit((change,)))
        return change.after

    # -- in place ------------------------------------------------------------------------------------------------------

    def _in_place(self, job: ReplayJob, has_time: HasTime) -> bool:
        """Catch up a rewound stream (R3), or fold one stream again; True when done."""
        if job.stream_id is None or job.head is None:
            raise ValueError(f"job {job.replay_id} names no stream")
        error = None
        try:
            if job.kind == jobs.STREAM:
                replay_stream(self._projector, self._store, self._read_model, job.stream_id)
            else:
                hint = Hint(job.stream_id, EventId(job.head), fresh=True)
                if not self._projector.catch_up(job.stream_id, [hint], retry_halted=True, has_time=has_time).finished:
                    self._send(job.replay_id, 0)
                    return False
        except HandlerFailedError as failure:
            error = {"streamId": job.stream_id, "eventId": failure.event_id, "error": failure.error}
        except CannotReplayStreamError as reason:
            error = {"streamId": job.stream_id, "error": str(reason)}
        state = jobs.DONE if error is None else jobs.FAILED
        try:
            end = transitions.end_job(job.replay_id, state, rfc3339(self._clock.now()), error)
            self._read_model.commit(Commit((end,)))
        except OutdatedError:
            pass  # another worker has recorded it
        return True
