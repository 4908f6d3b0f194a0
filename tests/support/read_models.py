"""Read models for tests."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from handlers.core.clock import Backoff, attempts
from handlers.projection.dynamodb import DynamoDbReadModel
from handlers.projection.port import Change, Commit, IndexEntry, ReadModel, Row, RowChange, RowQuery, StoredRow
from handlers.projection.state import Document, Item
from handlers.replay.jobs_dynamodb import DynamoDbReplayJobs
from tests.support.tables import ReadModelTables, make_read_model_tables


def dynamodb_read_model(
    client: Any,
    *,
    name: str = "orders",
    tables: ReadModelTables | None = None,
    through: Any = None,
    retries: Callable[[Backoff], Iterator[int]] = attempts,
    sweep_items: int = 25,
) -> DynamoDbReadModel:
    """A read model over fresh or given tables; ``through`` is the client that it is to use, where that is another one."""
    tables = tables or make_read_model_tables(client)
    return DynamoDbReadModel(
        through or client,
        name=name,
        states_table=tables.states,
        rows_table=tables.rows,
        jobs_table=tables.jobs,
        retries=retries,
        sweep_items=sweep_items,
    )


def dynamodb_read_models(client: Any) -> Callable[[], DynamoDbReadModel]:
    """Return a factory of read models of different projections, which share their tables."""
    tables = make_read_model_tables(client)
    return lambda: dynamodb_read_model(client, name=f"p-{uuid.uuid4().hex}", tables=tables)


def dynamodb_jobs(client: Any) -> tuple[DynamoDbReadModel, DynamoDbReplayJobs]:
    """Return a read model, which records jobs, and the jobs that are found."""
    tables = make_read_model_tables(client)
    return dynamodb_read_model(client, tables=tables), DynamoDbReplayJobs(client, tables.jobs)


# -- commits -------------------------------------------------------------------------------------------------------------


def write(key: str, row: Row | None, before: str | None = None, *entries: IndexEntry) -> RowChange:
    """A row's change, with a new version."""
    return RowChange(key, before, True, row, uuid.uuid4().hex, entries)


def put_rows(read_model: ReadModel, rows: dict[str, Row | None], generation: int = 0) -> None:
    """Write or delete rows, whatever they were."""
    found = read_model.load(generation, (), list(rows)).rows
    changes = []
    for key, row in rows.items():
        old = found[key]
        changes.append(write(key, row, None if old is None else old.version))
    read_model.commit(Commit((), tuple(changes), generation))


def put_document(read_model: ReadModel, item: Item, document: Document) -> None:
    """Set attributes of an item, without any condition."""
    read_model.commit(Commit((Change(item, {}, document, (), None),)))


def version(read_model: ReadModel, key: str, generation: int = 0) -> str:
    """The version of a row that exists."""
    found = read_model.load(generation, (), [key]).rows[key]
    assert isinstance(found, StoredRow)
    return found.version


def all_rows(read_model: ReadModel, generation: int = 0, **query: Any) -> dict[str, Row]:
    """The rows of all pages, in their order."""
    return dict(pages(read_model, generation, **{"limit": 1000, **query}))


def pages(read_model: ReadModel, generation: int = 0, **query: Any) -> Iterator[tuple[str, Row]]:
    position = None
    while True:
        page = read_model.rows(generation, RowQuery(**query, after=position))
        assert len(page.rows) <= query["limit"]
        yield from page.rows
        position = page.position
        if position is None:
            return
