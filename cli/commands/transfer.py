"""`esctl export` and `esctl import`: write events to files and append them from files."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, NoReturn

import typer

from cli.errors import CliError, ConflictError, ExitCode, NotFoundError, PartialError
from cli.shell.command import command
from cli.shell.session import Session
from cli.terminal.text import plural, shell_word, visible
from cli.transfer import send
from cli.transfer.batches import PARTITIONS
from cli.transfer.files import STANDARD, BadLineError, count_lines, sink, source
from cli.transfer.send import ExportCounts, ImportCounts, check

_FAULTS_MAX = 20  # bad lines that --dry-run lists

_ConnectionsOption = Annotated[
    int, typer.Option("--connections", min=1, max=PARTITIONS, metavar="N", help="How many calls run concurrently.")
]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The streams to export, and how many events or, for all streams, how many streams that is."""

    stream_ids: Iterable[str]
    total: int
    counts_events: bool


@command()
def export_events(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="NAME.jsonl, NAME.jsonl.gz, or - for standard output.")],
    stream_ids: Annotated[
        list[str] | None,
        typer.Option("--stream-id", "-s", metavar="ID", help="Only this stream; repeatable."),
    ] = None,
    connections: _ConnectionsOption = PARTITIONS,
) -> None:
    """Write events to a file, one per line, grouped by stream and in order.

    The file appears only when it is complete. Exporting the same events gives the same file, byte for byte.
    """
    plan = _plan(session, list(dict.fromkeys(stream_ids or [])), connections)
    what = "events" if plan.counts_events else "streams"
    with (
        sink(session.environment, file) as target,
        session.output.progress(f"exporting {what}", total=plan.total) as progress,
    ):

        def tick(done: ExportCounts) -> None:
            progress.update(done=done.events if plan.counts_events else done.streams)

        done = send.export_events(session.service, plan.stream_ids, target, connections=connections, tick=tick)
    if not session.output.is_text and file != STANDARD:
        session.output.json({"events": done.events, "streams": done.streams, "file": file})
        return
    where = "written" if file == STANDARD else f"in {file}"
    session.output.success(f"{plural(done.events, 'event')} of {plural(done.streams, 'stream')} are {where}.")
    if file != STANDARD:
        session.output.hint(f"Import them into another stack:  esctl import {shell_word(file)} --stack-name NAME")


@command()
def import_events(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file, gzipped or plain, or - for standard input.")],
    connections: _ConnectionsOption = PARTITIONS,
    import_id: Annotated[
        str,
        typer.Option(
            "--import-id",
            metavar="NAME",
            help="The name of this import; a file without eventIds can be imported again under another name.",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and list bad lines; import nothing.")
    ] = False,
) -> None:
    """Append the events of a file, one per line, each exactly once.

    To continue an interrupted import, run the same command again: events that are already stored are skipped. A line
    with an eventId is stored at that position or not at all.
    """
    if file == STANDARD and session.environment.stdin_is_terminal:
        session.output.message("Reading events from the terminal, one per line; Ctrl-D ends the input.")
    if dry_run:
        _check(session, file)
        return
    counts = ImportCounts()
    try:
        _import(session, file, counts, import_id, connections)
    except (BadLineError, CliError, KeyboardInterrupt) as error:
        _fail(error, counts, file)
    _report(session, counts, file)


def _import(session: Session, file: str, counts: ImportCounts, import_id: str, connections: int) -> None:
    with (
        source(session.environment, file) as stream,
        session.output.progress(
            f"importing into {session.target.label}", total=count_lines(session.environment, file)
        ) as progress,
    ):
        send.import_events(
            stream,
            session.service,
            session.environment,
            counts,
            name=import_id,
            connections=connections,
            tick=lambda: progress.update(done=counts.imported + counts.already),
        )


def _plan(session: Session, given: list[str], connections: int) -> _Plan:
    """Return which streams to export, and how much that is; raise `NotFoundError` for an unknown stream."""
    pages = session.service.stream_pages
    if not given:
        return _Plan(chain.from_iterable(pages()), sum(map(len, pages())), counts_events=False)
    with ThreadPoolExecutor(connections) as pool:
        heads = list(pool.map(session.service.head, given))
    for stream_id, last in zip(given, heads, strict=True):
        if last < 0:
            raise NotFoundError(f"there is no stream {visible(stream_id)}", "List them:  esctl streams")
    return _Plan(given, sum(heads) + len(heads), counts_events=True)


def _check(session: Session, file: str) -> None:
    with (
        source(session.environment, file) as stream,
        session.output.progress(f"checking {file}", total=count_lines(session.environment, file)) as progress,
    ):
        good, bad = check(stream, faults_max=_FAULTS_MAX, tick=lambda done: progress.update(done=done))
    if bad:
        more = " (there may be more)" if len(bad) == _FAULTS_MAX else ""
        raise CliError(
            f"{file} has {plural(len(bad), 'bad line')}{more}",
            f"Fix them and check again:  esctl import {shell_word(file)} --dry-run",
            faults=list(chain.from_iterable([f"line {each.line}: {fault}" for fault in each.faults] for each in bad)),
        )
    if not session.output.is_text:
        session.output.json({"events": good, "file": file})
        return
    session.output.success(f"{file} is valid: {plural(good, 'event')}. Nothing was imported.")
    session.output.hint(f"Import it:  esctl import {shell_word(file)}")


def _report(session: Session, counts: ImportCounts, file: str) -> None:
    if not session.output.is_text:
        session.output.json({"imported": counts.imported, "already": counts.already, "file": file})
        return
    session.output.success(f"{plural(counts.imported, 'event')} imported{_already(counts)}.")
    session.output.hint("List the streams:  esctl streams")


def _fail(error: BaseException, counts: ImportCounts, file: str) -> NoReturn:
    """Raise the error with what was imported so far and how to continue."""
    done = f"{plural(counts.imported, 'event')} imported{_already(counts)}"
    resume = "Run the same command again to continue: no event is imported twice"
    if isinstance(error, KeyboardInterrupt):
        raise CliError(f"interrupted: {done}", f"{resume}.", exit_code=ExitCode.INTERRUPTED) from None
    code = ExitCode.PARTIAL if counts.imported else ExitCode.FAILED
    if isinstance(error, BadLineError):
        message = f"line {error.line} of {file} can't be imported"
        single = len(error.faults) == 1
        raise CliError(
            f"{message}: {error.faults[0]}" if single else message,
            f"Fix it and run the same command again ({done} so far).\n"
            f"List all bad lines:  esctl import {shell_word(file)} --dry-run",
            faults=() if single else error.faults,
            exit_code=code,
        ) from error
    if isinstance(error, ConflictError) and error.hint:
        raise ConflictError(error.message, f"{error.hint}\n{done[0].upper()}{done[1:]} before that.") from error
    if isinstance(error, CliError) and counts.imported:
        resume = f"{resume} ({done} so far)."
        hint = f"{error.hint}\n{resume}" if error.hint else resume
        raise PartialError(error.message, hint, faults=error.faults) from error
    raise error


def _already(counts: ImportCounts) -> str:
    return f", {counts.already:,} were already stored" if counts.already else ""
