"""Threads that take turns: one runs at a time, and a seeded generator picks the next one at every step."""

import random
import threading
from collections.abc import Callable


class Crash(BaseException):
    """The process dies here. No `Exception`: no code under test may catch it."""


class Stop(BaseException):
    """The run is over."""


class Actor:
    """Something that happens beside others: a body, run in a thread of its own.

    Parameters
    ----------
    crash_probability
        At each step, half of it before the step takes effect and half after.
    """

    def __init__(self, name: str, body: Callable[["Actor"], None], crash_probability: float = 0.0) -> None:
        self.name = name
        self.body = body
        self.crash_probability = crash_probability
        self.turn = threading.Lock()
        self.turn.acquire()
        self.ready: Callable[[], bool] = _at_once


def _at_once() -> bool:
    return True


class Scheduler:
    """Runs actors to their ends, one step at a time; the same seed gives the same run."""

    def __init__(self, rng: random.Random, chaos_steps: int, max_steps: int) -> None:
        self._rng = rng
        self._chaos_steps = chaos_steps
        self._max_steps = max_steps
        self._actors: list[Actor] = []
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self.steps = 0

    @property
    def closing(self) -> bool:
        """True in the second part of a run: nothing crashes, and idle actors end."""
        return self.steps >= self._chaos_steps

    def run(self, actors: list[Actor]) -> None:
        """Run until every actor has ended; raises what the first one raised."""
        self._actors = list(actors)
        threads = [threading.Thread(target=self._live, args=[actor], name=actor.name, daemon=True) for actor in actors]
        for thread in threads:
            thread.start()
        self._rng.choice(self._actors).turn.release()
        self._done.wait()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def step(self, actor: Actor) -> None:
        """Let somebody go on, this actor or another."""
        following = self._next()
        if following is not actor:
            following.turn.release()
            actor.turn.acquire()
        if self._failure is not None:
            raise Stop
        if self.steps > self._max_steps:
            raise AssertionError(f"{actor.name} is still busy after {self.steps} steps")

    def pause(self, actor: Actor, steps: int) -> None:
        """Let others do some steps, fewer when the run closes."""
        until = self.steps + steps
        self.wait(actor, lambda: self.steps >= until)

    def wait(self, actor: Actor, ready: Callable[[], bool]) -> None:
        """Do nothing until something is so, or the run closes."""
        actor.ready = ready
        self.step(actor)
        actor.ready = _at_once

    def _next(self) -> Actor:
        while True:
            self.steps += 1
            able = [actor for actor in self._actors if self.closing or self._failure or actor.ready()]
            if able:
                return self._rng.choice(able)

    def may_crash(self, actor: Actor) -> None:
        """Crash, or don't."""
        if not self.closing and self._rng.random() < actor.crash_probability / 2:
            raise Crash

    def _live(self, actor: Actor) -> None:
        actor.turn.acquire()
        try:
            while self._failure is None:
                try:
                    actor.body(actor)
                    break
                except Crash:
                    continue  # it starts again, from nothing
        except Stop:
            pass
        except BaseException as failure:
            self._failure = self._failure or failure
        self._actors.remove(actor)
        if self._actors:
            self._next().turn.release()
        else:
            self._done.set()
