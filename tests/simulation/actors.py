"""What happens beside each other in a run, and how a run ends."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from handlers.core.errors import ConflictError, ContendedError, GoneError, NotFoundError
from handlers.core.events import EventId
from handlers.core.messages import Hint
from handlers.projection.engine import Projector
from handlers.projection.port import ReadModel
from handlers.projection.reading import read_page
from handlers.projection.reconcile import lags, unfinished_replay
from handlers.replay.jobs import DONE, FAILED, REWIND
from handlers.replay.requests import Replays
from handlers.replay.worker import ReplayWorker, finish_rewind
from tests.simulation.scheduler import Actor, Crash
from tests.simulation.world import STREAM, SteppingReadModel, SteppingStore, World

CRASH_PROBABILITY = 0.03
REDELIVERY_PROBABILITY = 0.8  # the other crashes lose their message for good: P6 has to find what it was about
MAX_REPLAYS = 12


@dataclass(frozen=True, slots=True)
class Variant:
    """How the actors are made; a mutant changes one thing.

    Attributes
    ----------
    live, replay, reader
        Wrap the read model of the projectors, of the requesters and workers of replays, and of the readers.
    """

    projector: type[Projector] = Projector
    live: Callable[[ReadModel], ReadModel] = lambda read_model: read_model
    replay: Callable[[ReadModel], ReadModel] = lambda read_model: read_model
    reader: Callable[[ReadModel], ReadModel] = lambda read_model: read_model
    reconciles: bool = True


@dataclass
class Run:
    """One run: the world, and the actors in it."""

    world: World
    variant: Variant = field(default_factory=Variant)

    def play(self) -> World:
        """Let everything happen, then reconcile until nothing is left to do, and check the end."""
        bodies: list[tuple[str, Callable[[Actor], None], float]] = [
            ("writer-1", self.write, 0.0),
            ("writer-2", self.write, 0.0),
            ("projector-1", self.project, CRASH_PROBABILITY),
            ("projector-2", self.project, CRASH_PROBABILITY),
            ("trigger-1", self.ask_for_replays, CRASH_PROBABILITY),
            ("trigger-2", self.ask_for_replays, CRASH_PROBABILITY),
            ("worker-1", self.replay, CRASH_PROBABILITY),
            ("worker-2", self.replay, CRASH_PROBABILITY),
            ("reader", self.read_whole, 0.0),
            ("pager", self.read_in_pages, 0.0),
        ]
        self.world.scheduler.run([Actor(name, body, probability) for name, body, probability in bodies])
        if self.variant.reconciles:
            self.reconcile()
        self.world.check_end()
        self.check_jobs()
        return self.world

    def check_jobs(self) -> None:
        """Polls the progress of a replay until it has ended."""
        replays = self._replays(self.world.store, self.world.read_model)
        for job in self.world.jobs.recent(100):
            state = replays.progress(job.replay_id).state
            # A rewind's message may be lost for good: then the lag is caught up, and its job is not told.
            assert state in (DONE, FAILED) or job.kind == REWIND, f"job {job.replay_id} is {state} at the end"

    # -- writing and projecting ----------------------------------------------------------------------------------------

    def write(self, actor: Actor) -> None:
        world = self.world
        store = SteppingStore(world, actor)
        for _ in range(world.rng.randint(4, 14)):
            (event,) = store.append([world.new_event()]).events
            for _ in range(world.rng.choice([0, 1, 1, 1, 2])):  # hints may be lost, or come twice
                world.hints.append(Hint(STREAM, event.event_id, event if world.rng.random() < 0.5 else None))
            world.scheduler.pause(actor, world.rng.randint(1, 20))

    def project(self, actor: Actor) -> None:
        world = self.world
        projector = self.variant.projector(
            world.projection,
            SteppingStore(world, actor),
            self.variant.live(SteppingReadModel(world, actor)),
            world.clock,
        )
        while True:
            world.scheduler.wait(actor, lambda: bool(world.hints))
            if not world.hints:
                if world.scheduler.closing:
                    return
                continue
            batch = [self._take(world.hints) for _ in range(min(len(world.hints), world.rng.randint(1, 3)))]
            try:
                projector.catch_up(STREAM, batch)
            except ContendedError:
                world.hints += batch
            except Crash:
                if world.rng.random() < REDELIVERY_PROBABILITY:
                    world.hints += batch
                raise

    def _take(self, messages: list[Any]) -> Any:
        return messages.pop(self.world.rng.randrange(len(messages)))  # in any order

    # -- replays -------------------------------------------------------------------------------------------------------

    def ask_for_replays(self, actor: Actor) -> None:
        world = self.world
        replays = self._replays(SteppingStore(world, actor), self.variant.replay(SteppingReadModel(world, actor)))
        while world.replays_asked_for < MAX_REPLAYS and not world.scheduler.closing:
            world.scheduler.pause(actor, world.rng.randint(1, 30))
            kind = world.rng.random()
            try:
                if kind < 0.4:
                    replays.rollback(STREAM)
                elif kind < 0.7 and world.idempotent and len(world.events()) > 1:
                    replays.trigger(STREAM, world.rng.randrange(1, len(world.events())))
                else:
                    replays.trigger(STREAM)
            except (ConflictError, ContendedError, NotFoundError):
                continue

    def _replays(self, store: Any, read_model: ReadModel) -> Replays:
        world = self.world

        def new_id() -> str:
            world.replays_asked_for += 1
            return f"replay-{world.replays_asked_for}"

        return Replays(
            world.projection,
            store,
            read_model,
            world.jobs,
            world.clock,
            send=lambda stream_id, replay_id: world.replay_messages.append((stream_id, replay_id)),
            new_id=new_id,
        )

    def replay(self, actor: Actor) -> None:
        world = self.world
        store = SteppingStore(world, actor)
        read_model = self.variant.replay(SteppingReadModel(world, actor))
        while True:
            world.scheduler.wait(actor, lambda: bool(world.replay_messages))
            if not world.replay_messages:
                if world.scheduler.closing:
                    return
                continue
            message = self._take(world.replay_messages)
            if world.rng.random() < 0.2:
                world.replay_messages.append(message)  # delivered twice
            try:
                self._work(store, read_model, message, lambda: world.rng.random() < 0.8)
            except ContendedError:
                world.replay_messages.append(message)
            except Crash:
                if world.rng.random() < REDELIVERY_PROBABILITY:
                    world.replay_messages.append(message)
                raise

    def _work(self, store: Any, read_model: ReadModel, message: tuple[Any, str], has_time: Callable[[], bool]) -> None:
        """As `handlers.functions.replay_worker` has it."""
        world = self.world
        stream_id, replay_id = message
        job = world.jobs.find(replay_id)
        if job is not None and job.kind == REWIND:
            projector = self.variant.projector(world.projection, store, read_model, world.clock)
            if not finish_rewind(job, stream_id, projector, world.jobs, world.clock, has_time):
                world.replay_messages.append(message)
            return
        worker = ReplayWorker(
            world.projection,
            store,
            read_model,
            world.jobs,
            world.clock,
            send_next=lambda stream, replay: world.replay_messages.append((stream, replay)),
            read_ahead=False,  # a thread of its own would not take turns
        )
        worker.work(stream_id, replay_id, has_time)

    # -- reading -------------------------------------------------------------------------------------------------------

    def read_whole(self, actor: Actor) -> None:
        world = self.world
        read_model = self.variant.reader(SteppingReadModel(world, actor))
        while not world.scheduler.closing:
            page = read_page(read_model, STREAM, key="k", limit=100)
            world.check_read(page, None, 100)
            world.check_no_way_back(page)
            world.scheduler.pause(actor, world.rng.randint(0, 8))

    def read_in_pages(self, actor: Actor) -> None:
        world = self.world
        read_model = self.variant.reader(SteppingReadModel(world, actor))
        while not world.scheduler.closing:
            after, generation = None, None
            while True:
                try:
                    page = read_page(read_model, STREAM, key="k", limit=2, after=after, generation=generation)
                except GoneError:
                    break
                world.check_read(page, after, 2)
                if page.next_after is None:
                    break
                after, generation = page.next_after, page.generation
                world.scheduler.pause(actor, world.rng.randint(0, 60))

    # -- the end -------------------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """What the schedule does every minute (P6), and what its messages lead to."""
        world = self.world
        read_model = world.read_model
        for _ in range(20):
            world.clock.pass_minutes(3)
            idle = True
            for lag in lags(world.projection, world.store, read_model):
                if lag.needs_trigger:
                    idle = False
                    projector = self.variant.projector(
                        world.projection, world.store, self.variant.live(read_model), world.clock
                    )
                    projector.catch_up(lag.stream_id, [Hint(lag.stream_id, EventId(lag.head), fresh=True)])
                replay_id = unfinished_replay(lag.state, world.clock.now())
                if replay_id:
                    idle = False
                    world.replay_messages.append((lag.stream_id, replay_id))
            while world.replay_messages:
                idle = False
                message = self._take(world.replay_messages)
                self._work(world.store, self.variant.replay(read_model), message, lambda: True)
            if idle:
                return
