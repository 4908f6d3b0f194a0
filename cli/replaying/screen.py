"""Replays and differences as a reader sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.output import Output
from cli.replaying.comparing import Difference, shown
from cli.replaying.following import duration
from cli.replaying.jobs import Job
from cli.replaying.running import Outcome
from cli.tables import Column
from handlers.clock import parse_rfc3339
from handlers.projection.definition import Projection

_ROWS_SHOWN = 20  # a screen; -o json has them all

JOB_COLUMNS = (
    Column("started"),
    Column("projection"),
    Column("kind"),
    Column("state"),
    Column("events", "right"),
    Column("events/s", "right"),
    Column("took", "right"),
    Column("replayId"),
)
ERROR = Column("error")


def job_table(jobs: Sequence[Job]) -> tuple[list[Column], list[tuple[object, ...]]]:
    """Columns and rows of a list of jobs; the column of errors only where there is one."""
    rows = [job_row(job) for job in jobs]
    if not any(job.error for job in jobs):
        return list(JOB_COLUMNS), rows
    return [*JOB_COLUMNS, ERROR], [(*row, job.error) for row, job in zip(rows, jobs, strict=True)]


def job_row(job: Job) -> tuple[object, ...]:
    """The cells of one job."""
    document = job.document
    events = f"{job.done:,}" if job.ended else f"{job.done:,} of {job.total:,}"
    return (
        document["startedAt"][:19].replace("T", " "),  # UTC; -o json has it in full
        document["projection"],
        job.kind,
        job.state,
        events,
        f"{job.rate:,.0f}",
        _took(job),
        job.replay_id,
    )


def job_pairs(job: Job) -> dict[str, object]:
    """One job as names and values; what is empty is left out."""
    cells = zip((*JOB_COLUMNS, ERROR), (*job_row(job), job.error), strict=True)
    pairs = {column.title: cell for column, cell in cells if cell != ""}
    return pairs | {f"stream {each['streamId']}": _stream(each) for each in job.document.get("streams", ())}


def show_outcome(output: Output, projection: Projection, outcome: Outcome) -> None:
    """What a replay changed."""
    job = outcome.job
    differences = [each for effect in outcome.effects for each in effect.differences]
    show_differences(output, projection, differences, "before", "after")
    output.pairs(
        {
            "replayId": job.replay_id,
            "events": f"{job.done:,}",
            "rows before": f"{outcome.rows_before:,}",
            "rows after": f"{outcome.rows_after:,}",
            "rows that differ": f"{outcome.rows_differing:,}",
            "time taken": duration(outcome.seconds),
        }
    )
    rate = f": {job.rate:,.0f} events a second" if job.done else ""
    output.success(f"The {job.word} of {projection.name} is done{rate}.")
    if not all(effect.settled for effect in outcome.effects):
        output.warning("events were applied while the rows were read: what differs may be their doing")


def show_differences(
    output: Output, projection: Projection, differences: Sequence[Difference], one: str, other: str
) -> None:
    """The rows that differ, as a table; nothing where none does."""
    if not differences:
        return
    cells = [(each.key, shown(each.one), shown(each.other)) for each in differences[:_ROWS_SHOWN]]
    output.table([projection.key, one, other], cells)
    left = len(differences) - len(cells)
    if left:
        output.message(f"and {left:,} more; -o json shows them all")


def _took(job: Job) -> str:
    finished = job.document.get("finishedAt")
    if finished is None:
        return ""
    return duration((parse_rfc3339(finished) - parse_rfc3339(job.document["startedAt"])).total_seconds())


def _stream(document: Mapping[str, Any]) -> str:
    return (
        f"{document['state']}, events {document['firstEventId']} to {document['head']}, {document['eventsDone']:,} done"
    )
