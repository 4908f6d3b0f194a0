"""The tables that all projections share: states of streams, rows, and replay jobs.

Their items begin with the projection's name (docs/architecture.md), so a new projection or index needs no new table.
"""

from __future__ import annotations

from typing import Any

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from handlers.projection.items import HALTED_IN, HALTED_INDEX, RECENT_INDEX
from handlers.projection.port import INDEX_SLOTS
from stack.function import EsFunction, accept, pin_logical_id

INDEXES = tuple(f"index{slot}" for slot in range(1, INDEX_SLOTS + 1))

# A commit is a transaction: each of its items needs the permission of its single action ("Using IAM with DynamoDB
# transactions"). It updates states, the control item and jobs, puts fences and rows, and checks what it relies on.
READ = ("dynamodb:GetItem", "dynamodb:BatchGetItem")
UPDATE, PUT, DELETE, CHECK = (f"dynamodb:{each}Item" for each in ("Update", "Put", "Delete", "ConditionCheck"))


class ReadModels(Construct):
    """The tables States, Rows and Jobs: all of it can be rebuilt from the events."""

    def __init__(self, scope: Construct) -> None:
        super().__init__(scope, "ReadModels")
        self.states = self._table("States", "pk", "sk")
        self._add_index(self.states, HALTED_INDEX, HALTED_IN, "sk")
        self.rows = self._table("Rows", "pk", "sk")
        for slot, index in enumerate(INDEXES, start=1):
            self._add_index(self.rows, index, index, f"sort{slot}")
        self.jobs = self._table("Jobs", "replayId", time_to_live_attribute="expiresAt")
        self._add_index(self.jobs, RECENT_INDEX, "kind", "startedAt", dynamodb.ProjectionType.ALL)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a function that uses these tables."""
        return {
            "STATES_TABLE": self.states.table_name,
            "ROWS_TABLE": self.rows.table_name,
            "JOBS_TABLE": self.jobs.table_name,
        }

    def allow_reading_states(self, function: EsFunction) -> None:
        """Let a function read the control item and the states of known streams."""
        function.allow(READ, self.states.table_arn)

    def allow_listing_states(self, function: EsFunction) -> None:
        """Let a function list the states of a generation."""
        function.allow(["dynamodb:Query"], self.states.table_arn)

    def allow_listing_halted(self, function: EsFunction) -> None:
        """Let a function list the halted streams of a generation."""
        function.allow(["dynamodb:Query"], f"{self.states.table_arn}/index/{HALTED_INDEX}")

    def allow_changing_states(self, function: EsFunction) -> None:
        """Let a function read and change the states of known streams."""
        function.allow([*READ, UPDATE], self.states.table_arn)

    def allow_changing_generations(self, function: EsFunction) -> None:
        """Let a function read and change the control item with its fences, and the states of known streams."""
        function.allow([*READ, UPDATE, PUT], self.states.table_arn)

    def allow_reading_rows(self, function: EsFunction) -> None:
        """Let a function read rows, one by one, in key order, or through an index."""
        function.allow([*READ, "dynamodb:Query"], self.rows.table_arn)
        function.allow(["dynamodb:Query"], *(f"{self.rows.table_arn}/index/{index}" for index in INDEXES))

    def allow_projecting(self, function: EsFunction, name: str | None = None) -> None:
        """Let a function fold events into rows (G1); with a ``name``, into those of one projection only."""
        own = None if name is None else only_of(name)
        function.allow([*READ, UPDATE, PUT, CHECK], self.states.table_arn, conditions=own)
        function.allow([*READ, PUT, DELETE, CHECK], self.rows.table_arn, conditions=own)

    def allow_sweeping(self, function: EsFunction) -> None:
        """Let a function delete the states and rows of an abandoned generation (G8)."""
        actions = ["dynamodb:Query", "dynamodb:BatchWriteItem"]
        function.allow(actions, self.states.table_arn, self.rows.table_arn)

    def allow_reading_jobs(self, function: EsFunction) -> None:
        """Let a function read a job."""
        function.allow(["dynamodb:GetItem"], self.jobs.table_arn)

    def allow_listing_jobs(self, function: EsFunction) -> None:
        """Let a function list the recent jobs."""
        function.allow(["dynamodb:Query"], f"{self.jobs.table_arn}/index/{RECENT_INDEX}")

    def allow_failing_jobs(self, function: EsFunction) -> None:
        """Let a function record that a job has failed."""
        function.allow([UPDATE], self.jobs.table_arn)

    def allow_running_jobs(self, function: EsFunction) -> None:
        """Let a function start jobs, and read and record their progress."""
        function.allow(["dynamodb:GetItem", UPDATE], self.jobs.table_arn)

    def _table(
        self, name: str, partition_key: str, sort_key: str | None = None, time_to_live_attribute: str | None = None
    ) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            name,
            partition_key=_text(partition_key),
            sort_key=None if sort_key is None else _text(sort_key),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute=time_to_live_attribute,
            removal_policy=RemovalPolicy.DESTROY,
        )
        pin_logical_id(table, name)
        accept(table, "AwsSolutions-DDB3", "Derived from the events: a replay rebuilds it.")
        return table

    @staticmethod
    def _add_index(
        table: dynamodb.Table,
        name: str,
        partition_key: str,
        sort_key: str,
        projection: dynamodb.ProjectionType = dynamodb.ProjectionType.KEYS_ONLY,
    ) -> None:
        """Add a sparse index: only items with its partition key are in it."""
        table.add_global_secondary_index(
            index_name=name,
            partition_key=_text(partition_key),
            sort_key=_text(sort_key),
            projection_type=projection,
        )


def only_of(name: str) -> dict[str, Any]:
    """Return the condition that a request concerns items of one projection only.

    The partition keys of its items are its name, or begin with its name and ``#``, which no name contains.
    """
    return {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [name, f"{name}#*"]}}


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
