"""Counting what an invocation used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from handlers.core.dynamodb import Usage
from tests.support.tables import make_event_tables


@pytest.fixture
def dynamodb(emulator_client: Callable[[str], Any]) -> Any:
    """On the emulator: moto says one write unit whatever was written."""
    return emulator_client("dynamodb")


def test_requests_and_units_are_counted_since_the_last_time(dynamodb: Any) -> None:
    import boto3

    client = boto3.client("dynamodb", endpoint_url=dynamodb.meta.endpoint_url)
    table = make_event_tables(client).idempotency
    usage = Usage()
    usage.watch(client)

    client.put_item(TableName=table, Item={"idempotencyKey": {"S": "a"}, "x": {"S": "y" * 1500}})
    client.get_item(TableName=table, Key={"idempotencyKey": {"S": "a"}}, ConsistentRead=True)
    put = {"TableName": table, "Item": {"idempotencyKey": {"S": "b"}}}
    client.transact_write_items(TransactItems=[{"Put": put}])
    taken = usage.take()

    assert taken["requests"] == {"dynamodb.PutItem": 1, "dynamodb.GetItem": 1, "dynamodb.TransactWriteItems": 1}
    assert taken["writeUnits"] == 2 + 2  # 1.5 KB are two units, and a transaction counts twice
    assert usage.take() == {}


def test_other_services_are_counted_too(moto_client: Callable[[str], Any]) -> None:
    client = moto_client("sqs")
    usage = Usage()
    usage.watch(client)

    url = client.create_queue(QueueName="q")["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="x")

    assert usage.take()["requests"] == {"sqs.CreateQueue": 1, "sqs.SendMessage": 1}
