"""What happens at the same time in a run, and how a run ends."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from handlers.core.clock import rfc3339
from handlers.core.errors import ConflictError, ContendedError, HandlerFailedError, InvalidInputError, NotFoundError
from handlers.core.events import EventId, StreamId
from handlers.core.messages import Hint
from handlers.projection import transitions
from handlers.projection.cache import Cache
from handlers.projection.engine import Projector
from handlers.projection.port import Change, Commit, OutdatedError, ReadModel, RowQuery
from handlers.projection.reading import RowReader
from handlers.projection.reconcile import Lag, Reconciler
from handlers.projection.state import Document, StreamState
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker
from handlers.store import EventStore
from tests.simulation.projections import version_of
from tests.simulation.scheduler import Actor, Crash
from tests.simulation.world import LostResponseError, Model, SteppingReadModel, SteppingStore, World

CRASH_PROBABILITY = 0.02
REDELIVERY_PROBABILITY = 0.8  # the other crashes lose their message for good: the reconciler has to find the work (P6)
MAX_JOBS = 10
MAX_ROUNDS, MAX_MESSAGES = 200, 2000

# How often operators do what.
WEIGHTS = {
    "replay": 4.0,
    "rollback": 3.0,
    "replay_in_place": 3.0,
    "cancel": 0.5,
    "recover": 2.0,
    "deploy": 0.5,
    "reconcile": 5.0,
}
JOBS = ("replay", "rollback", "replay_in_place")

Wrapper = Callable[[ReadModel], ReadModel]


def unchanged(read_model: ReadModel) -> ReadModel:
    """Return the read model itself."""
    return read_model


@dataclass(frozen=True, slots=True)
class Variant:
    """How the actors are made; a mutant changes one thing.

    Attributes
    ----------
    storage
        Wraps the read model of all, in which a call is one instant.
    live, replay, reader
        Wrap the read model of projectors, of operators and replay workers, and of readers.
    favourite
        The operators' favourite action: most rules only show when others are broken into at the right time.
    """

    projector: type[Projector] = Projector
    worker: type[ReplayWorker] = ReplayWorker
    reading: type[RowReader] = RowReader
    storage: Wrapper = unchanged
    live: Wrapper = unchanged
    replay: Wrapper = unchanged
    reader: Wrapper = unchanged
    reconciles: bool = True
    favourite: str = ""


class Process:
    """The functions of one projection as one process has them: with warm copies, and the code deployed at its start."""

    def __init__(self, model: Model, variant: Variant, store: EventStore, live: ReadModel, replay: ReadModel) -> None:
        self.model = model
        self.version = model.deployed
        self._store = store
        world, rng = model.world, model.world.rng
        speed = rng.choice([0.01, 0.1, 1.0])  # seconds per step: how old the control item gets
        code = model.codes[self.version]
        cache = Cache(max_states=rng.choice([1, 100]), max_rows=rng.choice([1, 100]))

        def projector(read_model: ReadModel) -> Projector:
            monotonic = lambda: world.scheduler.steps * speed  # noqa: E731
            return variant.projector(code, store, read_model, world.clock, monotonic=monotonic, cache=cache)

        self.projector = projector(live)
        self.worker = variant.worker(
            projector(replay), store, replay, world.clock, send=lambda *message: model.messages.append(message)
        )
        self.replays = Replays(
            code.current,
            store,
            replay,
            world.clock,
            send=lambda replay_id: model.messages.append((replay_id, None)),
            new_id=self._new_id,
        )
        self.reconciler = Reconciler(code, store, replay, world.clock, self)

    def _new_id(self) -> str:
        self.model.jobs += 1
        return f"replay-{self.model.jobs}"

    # -- what a reconciler has others do -------------------------------------------------------------------------------

    def running(self) -> Sequence[Document]:
        return [each for each in self.model.job_documents() if "finishedAt" not in each]

    def trigger(self, lags: Sequence[Lag]) -> int:
        self.model.hints += [Hint(lag.stream_id, EventId(lag.head), fresh=True) for lag in lags]
        return 0

    def resend(self, replay_id: str) -> None:
        self.model.messages.append((replay_id, None))

    def sweep(self, generation: int) -> None:
        self.model.messages.append(generation)

    def backfill(self) -> None:
        self.replays.trigger()


@dataclass
class Run:
    """One run: the world, and the actors in it."""

    world: World
    variant: Variant = field(default_factory=Variant)

    def play(self) -> World:
        """Let everything happen, then reconcile until nothing is left to do, and check the end."""
        actors = [Actor(f"writer-{number}", self.write) for number in range(2)]
        for model in self.world.models:
            model.storage = self.variant.storage(model.read_model)
            bodies: list[tuple[str, Callable[[Model, Actor], None], float]] = [
                ("projector-1", self.project, CRASH_PROBABILITY),
                ("projector-2", self.project, CRASH_PROBABILITY),
                ("worker-1", self.work, CRASH_PROBABILITY),
                ("worker-2", self.work, CRASH_PROBABILITY),
                ("operator-1", self.operate, CRASH_PROBABILITY),
                ("operator-2", self.operate, CRASH_PROBABILITY),
                ("reader", self.read, 0.0),
            ]
            for name, body, probability in bodies:
                actors.append(Actor(f"{model.name}-{name}", _of(body, model), probability))
        self.world.scheduler.run(actors)
        for model in self.world.models:
            self.finish(model)
            model.check_end()
        return self.world

    def _process(self, model: Model, actor: Actor) -> Process:
        read_model = SteppingReadModel(self.world, actor, model)
        store = SteppingStore(self.world, actor)
        return Process(model, self.variant, store, self.variant.live(read_model), self.variant.replay(read_model))

    def _take(self, messages: list[Any]) -> Any:
        return messages.pop(self.world.rng.randrange(len(messages)))  # in any order

    # -- writing and projecting ----------------------------------------------------------------------------------------

    def write(self, actor: Actor) -> None:
        world = self.world
        known = 1  # streams are born one after the other
        while not world.scheduler.closing:
            known += world.rng.random() < 0.1
            stream_id = world.rng.choice(world.streams[:known])
            events = [world.new_event(stream_id) for _ in range(1)]
            for event in world.store.append(events).events:
                for model in world.models:
                    for _ in range(world.rng.choice([0, 1, 1, 1, 2])):  # hints get lost, or come twice
                        model.hints.append(Hint(stream_id, event.event_id, event if world.rng.random() < 0.5 else None))
            world.scheduler.pause(actor, world.rng.randint(1, world.pace))

    def project(self, model: Model, actor: Actor) -> None:
        world, process = self.world, self._process(model, actor)
        while True:
            world.scheduler.wait(actor, lambda: bool(model.hints))
            if process.version != model.deployed:
                process = self._process(model, actor)
            if not model.hints:
                if world.scheduler.closing:
                    return
                continue
            hint = self._take(model.hints)
            batch = [hint, *(each for each in model.hints[:2] if each.stream_id == hint.stream_id)]
            try:
                self._catch_up(model, process, hint.stream_id, batch)
            except (ContendedError, LostResponseError):
                model.hints += batch
            except Crash:
                if world.rng.random() < REDELIVERY_PROBABILITY:
                    model.hints += batch
                raise

    def _catch_up(self, model: Model, process: Process, stream_id: StreamId, batch: Sequence[Hint]) -> None:
        try:
            caught_up = process.projector.catch_up(stream_id, batch)
        except HandlerFailedError:
            return  # the halt is recorded
        target = max(hint.event_id for hint in batch)
        if caught_up.checkpoint >= target:
            model.check_applied(stream_id, target)

    # -- replays -------------------------------------------------------------------------------------------------------

    def work(self, model: Model, actor: Actor) -> None:
        world, process = self.world, self._process(model, actor)
        while True:
            world.scheduler.wait(actor, lambda: bool(model.messages))
            if process.version != model.deployed:
                process = self._process(model, actor)
            if not model.messages:
                if world.scheduler.closing:
                    return
                continue
            message = self._take(model.messages)
            if world.rng.random() < 0.2:
                model.messages.append(message)  # delivered twice
            try:
                self._work(model, process, message, lambda: world.rng.random() < 0.8)
            except (ContendedError, HandlerFailedError):
                model.messages.append(message)
            except Crash:
                if world.rng.random() < REDELIVERY_PROBABILITY:
                    model.messages.append(message)
                raise

    def _work(self, model: Model, process: Process, message: Any, has_time: Callable[[], bool]) -> None:
        if isinstance(message, int):
            if not process.worker.sweep(message, has_time):
                model.messages.append(message)
        else:
            replay_id, segment = message
            process.worker.work(replay_id, segment, has_time)

    # -- operators and the reconciler ----------------------------------------------------------------------------------

    def operate(self, model: Model, actor: Actor) -> None:
        world = self.world
        process = self._process(model, actor)
        read_model = SteppingReadModel(world, actor, model)
        weights = {**WEIGHTS, self.variant.favourite: 10.0} if self.variant.favourite else WEIGHTS
        while not world.scheduler.closing:
            world.scheduler.pause(actor, world.rng.randint(1, 120))
            if process.version != model.deployed:
                process = self._process(model, actor)
            (action,) = world.rng.choices(list(weights), list(weights.values()))
            if action in JOBS and model.jobs >= (MAX_JOBS if not self.variant.favourite else 4 * MAX_JOBS):
                continue
            with suppress(ConflictError, ContendedError, NotFoundError, InvalidInputError):
                getattr(self, f"_{action}")(model, process, read_model)

    def _reconcile(self, model: Model, process: Process, read_model: ReadModel) -> None:
        process.reconciler.run()

    def _replay(self, model: Model, process: Process, read_model: ReadModel) -> None:
        process.replays.trigger()

    def _rollback(self, model: Model, process: Process, read_model: ReadModel) -> None:
        process.replays.rollback()

    def _replay_in_place(self, model: Model, process: Process, read_model: ReadModel) -> None:
        rng, heads = self.world.rng, self.world.heads()
        if heads:
            stream_id = rng.choice(list(heads))
            process.replays.trigger(stream_id, rng.randint(0, max(1, heads[stream_id])))

    def _cancel(self, model: Model, process: Process, read_model: ReadModel) -> None:
        building = model.control.building
        if building is not None:
            process.replays.cancel(building.replay_id)

    def _deploy(self, model: Model, process: Process, read_model: ReadModel) -> None:
        model.deployed = 3 - model.deployed

    def _recover(self, model: Model, process: Process, read_model: ReadModel) -> None:
        """As `handlers.api.recovery` does: resume or skip the event at which a stream is halted."""
        control = transitions.CONTROL
        active = model.control.from_document(read_model.read(control)).active
        for stream_id in read_model.halted(active):
            state = read_model.load(active, [stream_id]).states[stream_id]
            now = model.control.from_document(read_model.read(control))
            change: Change[StreamState]
            if now.active != active or not state.is_halted:
                continue
            if state.ahead is not None:
                if now.building is not None and now.building.generation == state.ahead:
                    continue
                change = transitions.drop_leader(state)
            elif self.world.rng.random() < 0.3:
                change = transitions.resume(state)
            else:
                change = transitions.skip(state, rfc3339(self.world.clock.now()))
            with suppress(OutdatedError):
                read_model.commit(Commit((change,)))
            model.hints.append(Hint(stream_id, EventId(self.world.heads()[stream_id]), fresh=True))

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, model: Model, actor: Actor) -> None:
        world = self.world
        reader = self.variant.reading(self.variant.reader(SteppingReadModel(world, actor, model)))
        while not world.scheduler.closing:
            stream_id = world.rng.choice(world.streams)
            floor = model.highest.get(stream_id, -1)
            with suppress(ContendedError):
                self._read(model, reader, stream_id, floor)
            world.scheduler.pause(actor, world.rng.choice([0, 5, 20, 200]))

    def _read(self, model: Model, reader: RowReader, stream_id: StreamId, floor: int) -> None:
        page = reader.stream_rows(stream_id, lambda fingerprint: RowQuery(limit=1000))
        rows, version = dict(page.rows), version_of(page.fingerprint)
        model.check_rows(version, rows)
        if page.settled:
            state = StreamState(stream_id, page.generation, checkpoint=page.checkpoint)
            model.check_read(version, stream_id, state, rows, floor)

    # -- the end -------------------------------------------------------------------------------------------------------

    def finish(self, model: Model) -> None:
        """What the schedule does every minute (P6), what its messages lead to, and what operators do about halts."""
        process = Process(
            model,
            self.variant,
            self.world.store,
            self.variant.live(model.storage),
            self.variant.replay(model.storage),
        )
        handled = 0
        for number in itertools.count():
            if not self.variant.reconciles and number:
                return
            if self.variant.reconciles:
                process.reconciler.run()
            idle = number > 5 and model.control.building is None and not process.running()
            while model.hints or model.messages:
                idle = False
                handled += 1
                assert handled < MAX_MESSAGES, f"{model.name}: still busy at the end"
                if model.hints:
                    hint = self._take(model.hints)
                    self._catch_up(model, process, hint.stream_id, [hint])
                else:
                    with suppress(HandlerFailedError):
                        self._work(model, process, self._take(model.messages), _for_steps(100))
            self._recover(model, process, model.read_model)
            if idle and not model.hints:
                return
            assert number < MAX_ROUNDS, f"{model.name}: still busy at the end"


def _for_steps(number: int) -> Callable[[], bool]:
    """Return a ``has_time`` for so many steps: a task that never ends must not hang the run."""
    steps = iter(range(number))
    return lambda: next(steps, None) is not None


def _of(body: Callable[[Model, Actor], None], model: Model) -> Callable[[Actor], None]:
    return lambda actor: body(model, actor)
