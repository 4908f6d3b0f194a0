"""What is made otherwise in the emulator: where logs end, how often streams are looked at, how keys are compared."""

from __future__ import annotations

import itertools
import json
import queue
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ministack.core import lambda_runtime
from ministack.services import dynamodb

from cli.emulator.logs import LAST_LINE, WorkerLog, saying_last_line
from cli.emulator.polling import at_intervals
from cli.emulator.queries import narrow_query

# -- logs --------------------------------------------------------------------------------------------------------------

HANDLER = """
import sys

def handler(event, context):
    for line in event["lines"]:
        print(line)
    if event.get("half"):
        sys.stderr.write(event["half"])
    if event.get("fails"):
        raise ValueError("wrong")
    return len(event["lines"])
"""


def test_a_worker_says_after_each_invocation_that_its_log_ends(tmp_path: Path) -> None:
    (tmp_path / "function.py").write_text(HANDLER)
    start = {"code_dir": str(tmp_path), "module": "function", "handler": "handler"}
    events = [{"lines": ["a", "b"]}, {"lines": []}, {"lines": ["c"], "half": "d"}, {"lines": ["e"], "fails": True}]
    messages = [start, *({"event": event} for event in events)]

    done = subprocess.run(
        [sys.executable, "-c", saying_last_line(lambda_runtime._PYTHON_WORKER_SCRIPT)],
        input="".join(json.dumps(message) + "\n" for message in messages),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    lines, log = filled(*done.stderr.removesuffix("\n").split("\n")), WorkerLog()
    assert [log.of_invocation(lines, PROCESS) for _ in events] == ["a\nb", "", "c\nd", "e"]
    assert lines.empty()
    assert [json.loads(answer).get("status") for answer in done.stdout.splitlines()] == [
        "ready",
        "ok",
        "ok",
        "ok",
        "error",
    ]


PROCESS, ANOTHER = object(), object()


def filled(*lines: str) -> queue.Queue[str]:
    made: queue.Queue[str] = queue.Queue()
    for line in lines:
        made.put(line)
    return made


def test_a_worker_that_dies_leaves_what_it_wrote() -> None:
    assert WorkerLog().of_invocation(filled("a", "b"), None, timeout_s=0.01) == "a\nb"


def test_a_line_of_the_next_invocation_stays_for_that() -> None:
    lines, log = filled("a", LAST_LINE, "b", LAST_LINE), WorkerLog()

    assert [log.of_invocation(lines, PROCESS) for _ in range(2)] == ["a", "b"]


def test_an_end_that_comes_late_is_not_taken_for_that_of_the_next_invocation() -> None:
    log = WorkerLog()

    assert log.of_invocation(filled("a"), PROCESS, timeout_s=0.01) == "a"
    assert log.of_invocation(filled("late", LAST_LINE, "b", LAST_LINE), PROCESS) == "late\nb"
    assert log.of_invocation(filled("c", LAST_LINE, "d"), PROCESS) == "c"


def test_a_new_process_owes_no_end_of_the_one_before() -> None:
    log = WorkerLog()
    log.of_invocation(filled("a"), PROCESS, timeout_s=0.01)

    lines = filled("b", LAST_LINE, "c", LAST_LINE)

    assert [log.of_invocation(lines, ANOTHER) for _ in range(2)] == ["b", "c"]


def test_another_kind_of_worker_is_not_taken_for_the_known_one() -> None:
    with pytest.raises(ValueError, match="another way"):
        saying_last_line("import sys\n\nrun()\n")


# -- polling -----------------------------------------------------------------------------------------------------------


class Stream:
    """Time, and whether there are records when it is looked at."""

    def __init__(self, *found: bool) -> None:
        self.now = 100.0
        self.looked_at: list[float] = []
        self._found = iter(found)

    def poll(self) -> bool:
        self.looked_at.append(round(self.now, 3))
        self.now += 0.01  # the function that is handed the records
        return next(self._found)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_stream_with_records_is_looked_at_again_after_an_interval() -> None:
    stream = Stream(True, True, False, True, True)
    poll = at_intervals(stream.poll, 0.05, monotonic=lambda: stream.now, sleep=stream.sleep)

    for pause in (0, 0, 0, 1, 0):
        stream.now += pause
        poll()

    # none found, or a pause longer than the interval: at once
    assert stream.looked_at == [100.0, 100.05, 100.1, 101.11, 101.16]


# -- queries -----------------------------------------------------------------------------------------------------------

EVENTS = 150
QUERIES = [
    {"KeyConditionExpression": "pk = :pk"},
    {"KeyConditionExpression": "#p = :pk AND sk >= :sk"},
    *({"KeyConditionExpression": f"pk=:pk and #s {relation} :sk"} for relation in ("=", "<", "<=", ">", ">=")),
    # These the emulator has to look for.
    {"KeyConditionExpression": "pk = :pk AND sk BETWEEN :sk AND :sk"},
    {"KeyConditionExpression": "sk = :sk AND pk = :pk"},
    {"KeyConditionExpression": "pk = :pk", "FilterExpression": "wide = :sk"},
    {"KeyConditionExpression": "pk = :pk AND sk > :sk", "ExclusiveStartKey": {"pk": {"S": "many"}, "sk": {"N": "17"}}},
    # And here something is wrong.
    {"KeyConditionExpression": "sk = :sk"},
    {"KeyConditionExpression": "pk = :pk AND other = :sk"},
    {"KeyConditionExpression": "pk = "},
    {"KeyConditionExpression": "pk = :unknown"},
    {"KeyConditionExpression": ""},
    {},
]


@pytest.fixture(scope="module")
def tables() -> Iterator[list[str]]:
    """Tables of the emulator in this process: many small items, many of 20 KB, keys that are no whole numbers, text."""
    made: list[str] = []
    for kind, keys, text in [
        ("N", [str(number) for number in range(EVENTS)], "x"),
        ("N", [str(number) for number in range(EVENTS)], "x" * 20_000),
        ("N", [f"{number}.5" for number in range(EVENTS)], "x"),
        ("S", [str(number) for number in range(EVENTS)], "x"),
    ]:
        name = f"adapted-{len(made)}-{uuid.uuid4().hex}"
        made.append(name)
        attributes = [{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": kind}]
        schema = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
        described = {"TableName": name, "KeySchema": schema, "AttributeDefinitions": attributes}
        dynamodb._create_table({**described, "BillingMode": "PAY_PER_REQUEST"})
        for partition, some in [("many", random.Random(7).sample(keys, EVENTS)), ("few", keys[:3])]:
            for key in some:
                item = {"pk": {"S": partition}, "sk": {kind: key}, "wide": {"S": text}}
                dynamodb._put_item({"TableName": name, "Item": item})
    yield made
    for name in made:
        dynamodb._delete_table({"TableName": name})


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.get("KeyConditionExpression", "none"))
@pytest.mark.parametrize("limit", [None, 1, 7, EVENTS, EVENTS + 1, 0])
def test_a_query_that_looks_at_less_finds_the_same(tables: list[str], query: dict[str, Any], limit: int | None) -> None:
    narrow = narrow_query(dynamodb)

    for table, partition, bound, forward in itertools.product(
        [*tables, "no-such-table"], ["many", "few", "none"], ["0", "42", "1000"], [True, False]
    ):
        kind = "S" if table == tables[-1] else "N"
        values = {":pk": {"S": partition}, ":sk": {kind: bound}}
        named = {"#p": "pk", "#s": "sk"}
        text = json.dumps(query)
        request = {
            "TableName": table,
            **query,
            "ScanIndexForward": forward,
            "ReturnConsumedCapacity": "TOTAL",
            "ExpressionAttributeValues": {name: value for name, value in values.items() if name in text},
            **({"ExpressionAttributeNames": used} if (used := {n: v for n, v in named.items() if n in text}) else {}),
            **({} if limit is None else {"Limit": limit}),
        }

        assert narrow(dict(request)) == dynamodb._query(dict(request)), request


def test_a_query_for_the_head_looks_at_two_items(tables: list[str]) -> None:
    evaluated = []

    def evaluate(expression: str, item: Any, *more: Any, **named: Any) -> Any:
        evaluated.append(item)
        return dynamodb._evaluate_condition(expression, item, *more, **named)

    watched: Any = SimpleNamespace(**vars(dynamodb) | {"_evaluate_condition": evaluate})
    request = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": "many"}}}

    _, _, answer = narrow_query(watched)({"TableName": tables[0], "ScanIndexForward": False, "Limit": 1, **request})

    assert [item["sk"]["N"] for item in json.loads(answer)["Items"]] == [str(EVENTS - 1)]
    assert len(evaluated) == 2
