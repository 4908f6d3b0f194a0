"""`esctl doctor`: check this machine and the deployed stack, end to end."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

from cli.errors import DegradedError, UsageError
from cli.operate import doctor as checks
from cli.operate.doctor import Check, Finding, Verdict, run
from cli.shell.command import command
from cli.shell.session import Session

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
            help="Also append an event without effect to each projected stream, and wait until it is projected.",
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
        session.output.success("all is well")
    if faults:
        raise DegradedError(f"{len(faults)} fault{'' if len(faults) == 1 else 's'} found", "")


def _machine(session: Session) -> list[Check]:
    return [
        Check("versions", checks.versions),
        Check("settings", lambda: checks.settings(session)),
    ]


def _deployment(session: Session, *, full: bool, read_only: bool, probe: bool) -> list[Check]:
    if session.target.is_local:
        access = [Check("emulator", lambda: checks.emulator(session))]
        reachable: tuple[str, ...] = ("emulator",)
    else:
        access = [Check("credentials", lambda: checks.credentials(session))]
        reachable = ("credentials",)
    chosen = [
        *access,
        Check("stack", lambda: checks.stack(session), reachable),
        Check("api", lambda: checks.api(session), (*reachable, "stack")),
        Check("projections", lambda: checks.projections(session), ("api",)),
        Check("streams", lambda: checks.contiguity(session, full=full), ("api",)),
        Check("read models", lambda: checks.read_models(session, full=full), ("api",)),
    ]
    if not read_only:
        chosen.append(Check("probe", lambda: checks.probe(session), ("api",)))
    if probe:
        chosen.append(Check("probe", lambda: checks.probe_projections(session), ("api", "projections")))
    return chosen


def _show(session: Session, finding: Finding) -> None:
    output = session.output
    if not output.is_text:
        return
    mark, style = _MARKS[finding.verdict.value]
    output.text(f" {finding.area:<12} {finding.what}", mark=mark, style=style)
    session.environment.stdout.flush()
    if finding.hint:
        output.hint(finding.hint)
