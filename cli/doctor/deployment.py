"""The deployed stack: its resources, its API, its queues and projections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cli.aws import errors
from cli.doctor.model import Finding, Verdict
from cli.errors import AccessError
from cli.observe.health import faults
from cli.observe.model import Snapshot
from cli.observe.resources import find_resources
from cli.observe.snapshot import take

if TYPE_CHECKING:
    from cli.session import Session

_MAX_LAG = 100  # as `esctl status` has it


def stack(session: Session) -> Iterator[Finding]:
    """The stack is whole, what is remembered of it is right, and its functions are fed."""
    from cli.aws import stack_outputs

    target = session.target
    resources = find_resources(session.clients, target.stack_name)
    number = sum(map(len, resources.by_type.values()))
    yield Finding("stack", Verdict.OK, f"{target.stack_name} is in {resources.status} with {number} resources")
    outputs = target.with_outputs(stack_outputs(session.clients, target.stack_name))
    stale = sorted(name for name in outputs.outputs if _differs(session, outputs, name))
    if stale:
        again = "Deploy again, so that it is remembered anew:  esctl deploy " + target.flags
        yield Finding("stack", Verdict.FAULT, f"what is remembered here of {', '.join(stale)} is out of date", again)
    yield from _sources(session, dict(resources.functions))


def _differs(session: Session, deployed: Any, name: str) -> bool:
    """Tell whether an output is another one than remembered; on the local target the address moves."""
    now = deployed.with_endpoint(session.target.endpoint_url) if session.target.is_local else deployed
    return name != "ApiUrl" and now.outputs.get(name) != session.target.outputs.get(name)


def _sources(session: Session, functions: dict[str, str]) -> Iterator[Finding]:
    """Every mapping from a stream or a queue to a function is switched on."""
    client = session.clients.client("lambda")
    fed = 0
    for name, function in sorted(functions.items()):
        with errors():
            mappings = client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
        for mapping in mappings:
            state = mapping.get("State", "?")
            if state in ("Disabled", "Disabling"):
                mend = f"aws lambda update-event-source-mapping --enabled --uuid {mapping.get('UUID')}"
                yield Finding("stack", Verdict.FAULT, f"{name} is fed no more: its mapping is {state}", mend)
            else:
                fed += 1
    yield Finding("stack", Verdict.OK, f"{fed} mappings feed the functions")


def api(session: Session) -> Iterator[Finding]:
    """The API answers to the key, and to nobody without it."""
    answer = session.api.get("/projections", limit=1)
    names = ", ".join(each["name"] for each in answer.document["projections"])
    yield Finding("api", Verdict.OK, f"{session.target.api_url} answers; projections: {names}")
    try:
        _without_key(session).get("/projections", limit=1)
    except AccessError:
        yield Finding("api", Verdict.OK, "without the key it refuses")
    else:
        yield Finding(
            "api", Verdict.FAULT, "the API answers without a key", f"Deploy:  esctl deploy {session.target.flags}"
        )


def _without_key(session: Session) -> Any:
    from cli.api import Api

    return Api(session.target, "", session.clients.credentials, sleep=session.environment.sleep)


def projections(session: Session) -> Iterator[Finding]:
    """Nothing is halted, far behind or dead-lettered."""
    snapshot = take(session)
    found = [fault for fault in faults(snapshot, _MAX_LAG) if fault.kind not in ("api", "stack", "saving")]
    for fault in found:
        yield Finding("projections", Verdict.FAULT, fault.what, fault.mend)
    for what, why in snapshot.unknown.items():
        yield Finding("projections", Verdict.NOTE, f"{what} could not be looked at: {why}")
    if not found:
        number = len(snapshot.streams)
        streams = f"{number} stream{'' if number == 1 else 's'}"
        yield Finding("projections", Verdict.OK, f"{streams} projected, nothing halted, no dead letters")
    yield from _functions(snapshot)


def _functions(snapshot: Snapshot) -> Iterator[Finding]:
    """The last hour's errors and throttles."""
    every = snapshot.functions or ()
    troubled = [each for each in every if each.errors or each.throttles]
    for each in troubled:
        throttles = "" if each.throttles is None else f", {each.throttles} throttles"
        what = f"{each.name}: {each.errors} errors{throttles} in the last hour"
        mend = f"esctl tail-logs --since 1h --filter ERROR --function {each.name}"
        yield Finding("functions", Verdict.NOTE, what, mend)
    if every and not troubled:
        yield Finding("functions", Verdict.OK, "no errors in the last hour")
