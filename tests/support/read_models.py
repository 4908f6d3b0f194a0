"""Read models for tests."""

from typing import Any

from handlers.projection.dynamodb import DynamoDbReadModel
from tests.support.tables import make_projection_tables


def dynamodb_read_model(client: Any, key: str, through: Any = None) -> DynamoDbReadModel:
    """A read model over fresh tables; ``through`` is the client that it is to use, where that is another one."""
    tables = make_projection_tables(client, key)
    return DynamoDbReadModel(through or client, state_table=tables.state, rows_table=tables.rows, key=key)
