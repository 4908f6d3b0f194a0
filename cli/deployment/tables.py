"""Tables through boto3: the adapter of the port `Tables`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import WaiterConfigTypeDef

    from cli.aws import Clients

_PATIENCE_S = 600.0


class DynamoTables:
    """Tables of one account and region."""

    def __init__(self, clients: Clients, poll_s: float) -> None:
        self._clients = clients
        self._poll_s = poll_s

    def holds_items(self, table: str) -> bool:
        try:
            return bool(self._clients.client("dynamodb").scan(TableName=table, Limit=1)["Items"])
        except ClientError as error:
            if _is_missing(error):
                return False
            raise

    def delete(self, table: str) -> bool:
        client = self._clients.client("dynamodb")
        patience: WaiterConfigTypeDef = {"Delay": max(1, round(self._poll_s)), "MaxAttempts": round(_PATIENCE_S)}
        try:
            described = client.describe_table(TableName=table)["Table"]
            if described.get("DeletionProtectionEnabled"):
                client.update_table(TableName=table, DeletionProtectionEnabled=False)
                # A table that is being updated can't be deleted.
                client.get_waiter("table_exists").wait(TableName=table, WaiterConfig=patience)
            client.delete_table(TableName=table)
        except ClientError as error:
            if _is_missing(error):
                return False
            raise
        client.get_waiter("table_not_exists").wait(TableName=table, WaiterConfig=patience)
        return True


def _is_missing(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") == "ResourceNotFoundException"
