"""The tables."""

from __future__ import annotations

import pytest

from handlers.projection.port import INDEX_SLOTS
from tests.stack.synthesized import Properties, Synthesized


def keys(table: Properties) -> dict[str, str]:
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    return {each["AttributeName"]: types[each["AttributeName"]] for each in table["KeySchema"]}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("Events", {"streamId": "S", "eventId": "N"}),
        ("Idempotency", {"idempotencyKey": "S"}),
        ("States", {"pk": "S", "sk": "S"}),
        ("Rows", {"pk": "S", "sk": "S"}),
        ("Jobs", {"replayId": "S"}),
    ],
)
def test_table_has_the_keys_of_the_architecture(stack: Synthesized, table: str, expected: dict[str, str]) -> None:
    assert keys(stack.properties(table)) == expected


def test_tables_are_billed_on_demand(stack: Synthesized) -> None:
    tables = stack.of_type("AWS::DynamoDB::Table")
    assert {table["BillingMode"] for table in tables.values()} == {"PAY_PER_REQUEST"}


def test_events_outlive_the_stack_and_mistakes(stack: Synthesized) -> None:
    stack.template.has_resource(
        "AWS::DynamoDB::Table",
        {
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "DeletionProtectionEnabled": True,
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                "StreamSpecification": {"StreamViewType": "NEW_IMAGE"},
            },
        },
    )


def test_what_can_be_derived_goes_with_the_stack(stack: Synthesized) -> None:
    for table in ("Idempotency", "States", "Rows", "Jobs"):
        assert stack.resources[table]["DeletionPolicy"] == "Delete"


def test_index_of_streams_is_sparse_and_holds_keys_only(stack: Synthesized) -> None:
    (index,) = stack.properties("Events")["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "streams"
    # Sparse: its partition key is an attribute that only events 0 have (E6).
    assert [each["AttributeName"] for each in index["KeySchema"]] == ["streamShard", "streamId"]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


def test_index_of_jobs_is_by_time(stack: Synthesized) -> None:
    (index,) = stack.properties("Jobs")["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "recent"
    assert [each["AttributeName"] for each in index["KeySchema"]] == ["kind", "startedAt"]


def test_index_of_halted_streams_is_sparse_and_holds_keys_only(stack: Synthesized) -> None:
    (index,) = stack.properties("States")["GlobalSecondaryIndexes"]
    assert index["IndexName"] == "halted"
    # Sparse: its partition key is an attribute that only states of halted streams have.
    assert [each["AttributeName"] for each in index["KeySchema"]] == ["haltedIn", "sk"]
    assert index["Projection"] == {"ProjectionType": "KEYS_ONLY"}


def test_rows_have_one_index_per_slot_from_the_start(stack: Synthesized) -> None:
    # CloudFormation adds at most one index per update of a table.
    indexes = stack.properties("Rows")["GlobalSecondaryIndexes"]
    assert {each["IndexName"]: [key["AttributeName"] for key in each["KeySchema"]] for each in indexes} == {
        f"index{slot}": [f"index{slot}", f"sort{slot}"] for slot in range(1, INDEX_SLOTS + 1)
    }
    assert {each["Projection"]["ProjectionType"] for each in indexes} == {"KEYS_ONLY"}


@pytest.mark.parametrize("table", ["Idempotency", "Jobs"])
def test_items_that_expire_do(stack: Synthesized, table: str) -> None:
    expected = {"AttributeName": "expiresAt", "Enabled": True}
    assert stack.properties(table)["TimeToLiveSpecification"] == expected
