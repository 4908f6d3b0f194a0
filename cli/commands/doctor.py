"""`esctl doctor`: check this machine and the deployed stack, end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from cli.client.http import HttpClient
from cli.client.service import Service
from cli.commands.status import take_snapshot
from cli.errors import DegradedError, UsageError
from cli.operate import doctor as checks
from cli.operate.doctor import EVENTS_MAX, STREAMS_MAX, Audited, Check, Finding, Verdict, run
from cli.replay.audit import audit
from cli.replay.history import Bound, HistoryTooLongError
from cli.shell.command import command
from cli.shell.session import Session
from handlers.projection.definition import Projection

_AREAS_OF_READ_MODELS = ("projections", "read models")
_MARKS = {"ok": ("✓", "green"), "note": ("i", "cyan"), "fault": ("✗", "bold red"), "skipped": ("-", "dim")}


@command()
def doctor(
    session: Session,
    full: Annotated[bool, typer.Option("--full", help="Check every event, however many there are.")] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Append no probe event to the stream esctl-doctor-probe.")
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Also append an event without effect to each declared stream, and wait until it is projected.",
        ),
    ] = False,
) -> None:
    """Check this machine and the deployed stack, end to end, and suggest a fix for each fault.

    Appends one event to the stream esctl-doctor-probe unless --read-only is given. Exit code 7 if there is a fault.
    """
    if probe and read_only:
        raise UsageError("--probe and --read-only can't be combined: a probe appends events")
    show = partial(_show, session)
    found = run(_machine(session), show)
    if not any(finding.verdict is Verdict.FAULT for finding in found):
        session.announce("Checking")
        deployed = _deployment(session, full=full, read_only=read_only, probe=probe)
        found += run(deployed, show)
    faults = [finding for finding in found if finding.verdict is Verdict.FAULT]
    if not session.output.is_text:
        session.output.json({"healthy": not faults, "findings": [asdict(finding) for finding in found]})
    elif not faults:
        session.output.message()
        unsure = [each for each in found if each.verdict is Verdict.NOTE and each.area in _AREAS_OF_READ_MODELS]
        if unsure:
            session.output.message("No fault was found, but not everything was checked: see the notes above.")
        else:
            session.output.success("all is well")
    if faults:
        raise DegradedError(f"{len(faults)} fault{'' if len(faults) == 1 else 's'} found", "")


def _machine(session: Session) -> list[Check]:
    return [
        Check("versions", checks.versions),
        Check("settings", lambda: checks.settings(session.settings, session.environment, session.state)),
    ]


def _deployment(session: Session, *, full: bool, read_only: bool, probe: bool) -> list[Check]:
    if session.target.is_local:
        access = [Check("emulator", lambda: _emulator(session))]
        reachable: tuple[str, ...] = ("emulator",)
    else:
        access = [Check("credentials", lambda: checks.credentials(session.target, session.clients))]
        reachable = ("credentials",)
    chosen = [
        *access,
        Check("stack", lambda: checks.stack(session.target, session.clients), reachable),
        Check("api", lambda: _api(session), (*reachable, "stack")),
        Check("projections", lambda: checks.projections(take_snapshot(session)), ("api",)),
        Check("streams", lambda: checks.contiguity(session.service, full=full), ("api",)),
        Check("read models", lambda: checks.read_models(auditor(session.service, full=full)), ("api",)),
    ]
    if not read_only:
        chosen.append(Check("probe", lambda: checks.probe(session.service, session.environment), ("api",)))
    if probe:
        chosen.append(
            Check(
                "probe", lambda: checks.probe_projections(session.service, session.environment), ("api", "projections")
            )
        )
    return chosen


def _emulator(session: Session) -> Iterator[Finding]:
    status = session.emulator.status()
    running_at = f"{status.endpoint_url} (pid {status.pid})" if status.running else None
    return checks.emulator(running_at, None if status.unsaved is None else str(status.unsaved), status.data)


def _api(session: Session) -> Iterator[Finding]:
    without_key = HttpClient(session.target, "", session.clients.credentials, sleep=session.environment.sleep)
    return checks.api(session.target, session.service, Service(without_key))


def auditor(service: Service, *, full: bool) -> Callable[[Projection], Audited]:
    """Return what compares a read model of a stack with its history."""
    bound = Bound() if full else Bound(EVENTS_MAX, STREAMS_MAX)

    def audited(projection: Projection) -> Audited:
        try:
            effect = audit(service, projection, bound)
        except HistoryTooLongError as error:
            return Audited(too_long=error.why)
        keys = ["/".join(each.key) for each in effect.differences]
        return Audited(events=effect.events, differing=keys, settled=effect.settled)

    return audited


def _show(session: Session, finding: Finding) -> None:
    output = session.output
    if not output.is_text:
        return
    mark, style = _MARKS[finding.verdict.value]
    output.text(f" {finding.area:<12} {finding.what}", mark=mark, style=style)
    session.environment.stdout.flush()
    if finding.hint:
        output.hint(finding.hint)
