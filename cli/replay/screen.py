"""Show replays and differing rows."""

from __future__ import annotations

from collections.abc import Sequence

from cli.client.records import ReplayJob, Row
from cli.replay.audit import Difference
from cli.replay.run import ROWS_COMPARED_MAX, ReplayResult
from cli.terminal.output import Output
from cli.terminal.tables import Column
from cli.terminal.text import duration
from handlers.core.clock import parse_rfc3339
from handlers.core.lossless_json import dumps
from handlers.projection.definition import Projection

_ROWS_SHOWN = 20  # one screen; -o json has all

JOB_COLUMNS = (
    Column("started"),
    Column("projection"),
    Column("kind"),
    Column("state"),
    Column("events", "right"),
    Column("segments", "right"),
    Column("events/s", "right"),
    Column("took", "right"),
    Column("replayId"),
)
ERROR = Column("error")


def job_table(jobs: Sequence[ReplayJob]) -> tuple[list[Column], list[tuple[object, ...]]]:
    """Return columns and rows of a list of jobs; the error column only if there is an error."""
    rows = [job_row(job) for job in jobs]
    if not any(job.error for job in jobs):
        return list(JOB_COLUMNS), rows
    return [*JOB_COLUMNS, ERROR], [(*row, job.error) for row, job in zip(rows, jobs, strict=True)]


def job_row(job: ReplayJob) -> tuple[object, ...]:
    """Return the cells of one job."""
    document = job.document
    finished, segments = job.segments
    return (
        document["startedAt"][:19].replace("T", " "),  # UTC; -o json has the full time
        document["projection"],
        job.kind,
        job.state,
        f"{job.done:,}" if job.ended or job.total is None else f"{job.done:,} of {job.total:,}",
        f"{finished} of {segments}" if segments else "",
        f"{job.rate:,.0f}",
        _took(job),
        job.replay_id,
    )


def job_pairs(job: ReplayJob) -> dict[str, object]:
    """Return one job as names and values, without the empty ones."""
    cells = zip((*JOB_COLUMNS, ERROR), (*job_row(job), job.error), strict=True)
    pairs = {column.title: cell for column, cell in cells if cell != ""}
    more = {"stream": "streamId", "generation": "generation"}
    return pairs | {name: job.document[field] for name, field in more.items() if field in job.document}


def show_result(output: Output, projection: Projection, result: ReplayResult) -> None:
    """Show what a replay changed."""
    job, effect = result.job, result.effect
    pairs: dict[str, object] = {"replayId": job.replay_id, "events": f"{job.done:,}"}
    if effect is not None:
        show_differences(output, projection, effect.differences, "before", "after")
        pairs |= {
            "rows before": f"{effect.before:,}",
            "rows after": f"{effect.after:,}",
            "rows that differ": f"{len(effect.differences):,}",
        }
    output.pairs(pairs | {"time taken": duration(result.seconds)})
    rate = f": {job.rate:,.0f} events per second" if job.done else ""
    output.success(f"The {job.word} of {projection.name} is done{rate}.")
    if effect is None:
        output.message(f"Its rows were not compared with those before: there are more than {ROWS_COMPARED_MAX:,}.")
    elif not effect.settled or (effect.differences and projection.only_stream is None):
        output.warning("events may have been applied in the meantime: some differences may be due to them")


def show_differences(
    output: Output, projection: Projection, differences: Sequence[Difference], one: str, other: str
) -> None:
    """Show differing rows as a table; nothing if there are none."""
    if not differences:
        return
    cells = [(*each.key, _cell(each.one), _cell(each.other)) for each in differences[:_ROWS_SHOWN]]
    output.table([*projection.key_attributes, one, other], cells)
    left = len(differences) - len(cells)
    if left:
        output.message(f"and {left:,} more; -o json shows all")


def _took(job: ReplayJob) -> str:
    finished = job.document.get("finishedAt")
    if finished is None:
        return ""
    return duration((parse_rfc3339(finished) - parse_rfc3339(job.document["startedAt"])).total_seconds())


def _cell(row: Row | None) -> str:
    return "(no row)" if row is None else dumps(row)
