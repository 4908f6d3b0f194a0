"""`esctl doctor`: the machine and the deployed stack, checked end to end."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.command import command
from cli.errors import DegradedError
from cli.session import Session

if TYPE_CHECKING:
    from cli.doctor.model import Check, Finding

_MARKS = {"ok": ("✓", "green"), "note": ("i", "cyan"), "fault": ("✗", "bold red"), "skipped": ("-", "dim")}


@command()
def doctor(
    session: Session,
    full: Annotated[bool, typer.Option("--full", help="Read every event, however many there are.")] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Append no event to the doctor's own stream, esctl-doctor-probe.")
    ] = False,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Append an event without effect to each projected stream too, and see it pass."),
    ] = False,
) -> None:
    """Check this machine and the deployed stack, end to end, and say what to do about each fault.

    Appends one event to a stream of its own, unless --read-only says otherwise. Exit code 7 where something is wrong.
    """
    from cli.doctor.model import Verdict, run
    from cli.mending.announcing import announce

    if probe and read_only:
        from cli.errors import UsageError

        raise UsageError("--probe and --read-only exclude each other: a probe is an event")
    checks = _machine(session)
    found = run(checks, lambda finding: _tell(session, finding))
    if not any(finding.verdict is Verdict.FAULT for finding in found):
        announce(session, "Checking")
        deployed = _deployment(session, full=full, read_only=read_only, probe=probe)
        found += run(deployed, lambda finding: _tell(session, finding))
    faults = [finding for finding in found if finding.verdict is Verdict.FAULT]
    if not session.output.is_text:
        session.output.json({"healthy": not faults, "findings": [asdict(finding) for finding in found]})
    elif not faults:
        session.output.message()
        session.output.success("all is well")
    if faults:
        raise DegradedError(f"{len(faults)} fault{'' if len(faults) == 1 else 's'} found", "")


def _machine(session: Session) -> list[Check]:
    from cli.doctor import machine
    from cli.doctor.model import Check

    return [
        Check("versions", machine.versions),
        Check("settings", lambda: machine.settings(session)),
    ]


def _deployment(session: Session, *, full: bool, read_only: bool, probe: bool) -> list[Check]:
    from cli.doctor import deployment, history, machine, permissions
    from cli.doctor.model import Check

    if session.target.is_local:
        access = [Check("emulator", lambda: machine.emulator(session))]
        reachable: tuple[str, ...] = ("emulator",)
    else:
        access = [
            Check("credentials", lambda: machine.credentials(session)),
            Check("permissions", lambda: permissions.permissions(session), ("credentials",)),
        ]
        reachable = ("credentials",)
    checks = [
        *access,
        Check("stack", lambda: deployment.stack(session), reachable),
        Check("api", lambda: deployment.api(session), (*reachable, "stack")),
        Check("projections", lambda: deployment.projections(session), ("api",)),
        Check("streams", lambda: history.contiguity(session, full=full), ("api",)),
        Check("read models", lambda: history.read_models(session, full=full), ("api",)),
    ]
    if not read_only:
        checks.append(Check("probe", lambda: history.probe(session), ("api",)))
    if probe:
        checks.append(Check("probe", lambda: history.probe_projections(session), ("api", "projections")))
    return checks


def _tell(session: Session, finding: Finding) -> None:
    output = session.output
    if not output.is_text:
        return
    mark, style = _MARKS[finding.verdict.value]
    output.text(f" {finding.area:<12} {finding.what}", mark=mark, style=style)
    session.environment.stdout.flush()
    if finding.mend:
        output.hint(finding.mend)
