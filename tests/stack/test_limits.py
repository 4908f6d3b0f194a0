"""What fits into one stack, and what is refused before it is deployed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlers.projection.definition import Projection
from stack import limits
from stack.app import SynthesisError
from stack.settings import StackSettings
from tests.stack.synthesized import Synthesized, synthesized, with_long_names

LONGEST_STACK_NAME = "s" * 128


def test_thirty_projections_fit_into_every_limit(thirty: Synthesized) -> None:
    found = list(limits.measured(thirty.text, LONGEST_STACK_NAME))
    kinds = {what.rpartition(" ")[0] if " of " in what else what for what, _, _ in found}
    assert not [each for each in found if each[1] > each[2]]
    assert kinds >= {"resources in the template", "bytes of the environment of", "alarms in a widget"}


def test_thirty_projections_reconcile_with_five_targets_per_rule(thirty: Synthesized) -> None:
    rules = thirty.of_type("AWS::Events::Rule").values()
    projections = [json.loads(target["Input"])["projection"] for rule in rules for target in rule["Targets"]]
    assert [len(rule["Targets"]) for rule in rules] == [5] * 6
    assert sorted(projections) == sorted(each.name for each in with_long_names(30))


def test_too_many_projections_are_refused_with_the_limit_and_their_names(tmp_path: Path) -> None:
    projections = {each.name: each for each in with_long_names(40)}
    with pytest.raises(SynthesisError) as raised:
        synthesized(tmp_path, StackSettings("esctl"), projections=projections)
    finding = raised.value.findings[0]
    assert finding.startswith("resources in the template: ")
    assert finding.endswith(f"but the limit is 500. Remove some of these projections: {', '.join(projections)}")


@pytest.mark.parametrize(
    ("names", "resource"),
    [
        (["a-b1", "a-b-1"], "AB1Queue"),
        (["seats", "seats-dead-letter"], "SeatsDeadLetterQueue"),
        (["replay"], "ReplayQueue"),
        (["replay-dead-letter"], "ReplayDeadLetterQueue"),
        (["failure"], "FailureQueue"),
    ],
)
def test_projections_with_the_same_logical_ids_are_refused_by_name(
    tmp_path: Path, names: list[str], resource: str
) -> None:
    projections = {name: Projection(name, key="id") for name in names}
    with pytest.raises(SynthesisError) as raised:
        synthesized(tmp_path, StackSettings("esctl"), projections=projections)
    (finding,) = raised.value.findings
    assert all(repr(name) in finding for name in names)
    assert f"both need the resource {resource}" in finding


def template(**resources: Any) -> str:
    return json.dumps({"Resources": resources})


def test_references_are_measured_as_long_as_what_they_refer_to() -> None:
    statement = {"Action": "sqs:SendMessage", "Resource": [{"Fn::GetAtt": ["SeatsQueue", "Arn"]}]}
    document = template(
        SeatsQueue={"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "SeatsQueue-0123456789ab.fifo"}},
        Role={"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": {"Statement": [statement]}}]}},
    )
    arn = "arn:aws:sqs:ap-southeast-4:123456789012:SeatsQueue-0123456789ab.fifo"
    policy = {"Statement": [{"Action": "sqs:SendMessage", "Resource": [arn]}]}

    sizes = {what: size for what, size, _ in limits.measured(document, "esctl")}

    expected = len(json.dumps(policy, separators=(",", ":")))
    assert expected <= sizes["characters in the policies of Role"] <= expected + 30


@pytest.mark.parametrize(
    ("resources", "finding"),
    [
        (
            {"F": {"Type": "AWS::Lambda::Function", "Properties": {"Environment": {"Variables": {"A": "x" * 4096}}}}},
            "bytes of the environment of F: 4,097, but the limit is 4,096.",
        ),
        (
            {"D": {"Type": "AWS::CloudWatch::Dashboard", "Properties": {"DashboardBody": json.dumps(
                {"widgets": [{"properties": {"alarms": ["arn"] * 101}}]}
            )}}},
            "alarms in a widget: 101, but the limit is 100.",
        ),
    ],
)  # fmt: skip
def test_a_limit_is_reported_with_what_exceeds_it(resources: dict[str, Any], finding: str) -> None:
    (found,) = limits.exceeded(template(**resources), "esctl", ["seats"])
    assert found == f"{finding} Remove some of these projections: seats"
