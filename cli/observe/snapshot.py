"""Taking a snapshot of a stack: all its parts at once, and no part's failure takes another along."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from cli.errors import CliError
from cli.observe import probes
from cli.observe.model import ApiHealth, FunctionStatus, QueueStatus, Snapshot, StreamStatus
from cli.observe.resources import Queue, Resources, find_resources, queues_of

if TYPE_CHECKING:
    from cli.session import Session

T = TypeVar("T")

_THREADS = 4


def take(session: Session) -> Snapshot:
    """Ask everything about the session's target.

    Raises
    ------
    NoTargetError, NotRunningError, AccessError
        There is nothing to ask, or no key to ask with.
    CliError
        Neither CloudFormation nor the API answers: the reason of the former.
    """
    # Clients are made here: making them is not safe in threads, using them is.
    api, clients = session.api, session.clients
    for service in ("cloudformation", "cloudwatch", "logs", "sqs"):
        clients.client(service)
    with ThreadPoolExecutor(_THREADS) as pool:
        stack = pool.submit(_known, lambda: find_resources(clients, session.target.stack_name))
        health = pool.submit(_projections, api)
        queues = pool.submit(_known, lambda: _queues(session))
        resources, no_resources = stack.result()
        functions, no_functions = _functions(session, resources)
        (answered, streams, more), (queued, no_queues) = health.result(), queues.result()
    if no_resources is not None and not answered.ok:
        raise no_resources
    unknown = {"stack": no_resources, "functions": no_functions or no_resources, "queues": no_queues}
    return Snapshot(
        stack_status=resources.status if resources else None,
        api=answered,
        streams=tuple(streams),
        more_streams=tuple(more),
        queues=tuple(queued or ()),
        functions=None if functions is None else tuple(functions),
        unknown={what: error.message for what, error in unknown.items() if error is not None},
        unsaved=_unsaved(session),
    )


def _unsaved(session: Session) -> str | None:
    from cli.emulator.process import ask

    url = session.target.endpoint_url
    health = ask(session.state, url) if url is not None else None
    unsaved = health.unsaved if health else None
    return None if unsaved is None else str(unsaved)


def _known(ask: Callable[[], T]) -> tuple[T | None, CliError | None]:
    """Return the answer, or why there is none."""
    from cli.aws import errors

    try:
        with errors():
            return ask(), None
    except CliError as error:
        return None, error


def _projections(api: probes.Reader) -> tuple[ApiHealth, list[StreamStatus], list[str]]:
    started = perf_counter()
    try:
        described = probes.projections(api)
        health = ApiHealth(True, round((perf_counter() - started) * 1000, 1))
        found = probes.streams(api, described, datetime.now(UTC))
    except CliError as error:
        return ApiHealth(False, error=error.message), [], []
    return health, found, [each["name"] for each in described if each.get("more")]


def _queues(session: Session) -> list[QueueStatus]:
    queues = queues_of(session.target.outputs)
    ages = _ages(session, queues)
    sqs = session.clients.client("sqs")
    return [probes.queue_status(sqs, queue, ages.get(queue.name)) for queue in queues]


def _ages(session: Session, queues: list[Queue]) -> dict[str, float]:
    if session.target.is_local:  # the emulator keeps no metrics of queues
        return {}
    return _known(lambda: probes.oldest_messages(session.clients.client("cloudwatch"), queues))[0] or {}


def _functions(session: Session, resources: Resources | None) -> tuple[list[FunctionStatus] | None, CliError | None]:
    if resources is None:
        return None, None
    if session.target.is_local:
        logs = session.clients.client("logs")
        return _known(lambda: probes.function_statuses_from_logs(logs, resources.functions, resources.log_groups))
    return _known(lambda: probes.function_statuses(session.clients.client("cloudwatch"), resources.functions))
