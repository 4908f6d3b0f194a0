"""The template as a whole: what linters and rule packs say, names, sizes, determinism."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.domain import registry
from stack.app import SynthesisError, cache_folder
from stack.asset import build_asset
from stack.settings import StackSettings
from tests.stack.synthesized import Synthesized, references, synthesized

# Names that other stacks in the account might have as well. Those given are made of the stack's own name or id.
NAMES = {
    "AlarmName",
    "DashboardName",
    "FunctionName",
    "LogGroupName",
    "Name",
    "QueueName",
    "RoleName",
    "TableName",
    "TopicName",
    "UsagePlanName",
}
REFERRING = {"AWS::Lambda::EventSourceMapping", "AWS::Lambda::Permission"}  # their FunctionName is whom they call

CHOICES = [StackSettings("esctl"), StackSettings("esctl", tracing=True, strict=True, auth="iam")]


def test_nothing_has_a_fixed_physical_name(chosen: Synthesized) -> None:
    named = {
        logical_id: references(value)
        for logical_id, resource in chosen.resources.items()
        if resource["Type"] not in REFERRING
        for key, value in resource.get("Properties", {}).items()
        if key in NAMES
    }
    assert named == {
        "ApiRest4DEC74FE": {"AWS::StackName"},
        "Topic": {"AWS::StackName"},
        "TestItemsQueue": {"AWS::StackId"},
        "TestItemsDeadLetterQueue": {"AWS::StackId"},
        "ReplayQueue": {"AWS::StackId"},
        "ReplayDeadLetterQueue": {"AWS::StackId"},
    }


def test_cfn_lint_finds_nothing(stack: Synthesized, chosen: Synthesized) -> None:
    templates = [str(each.info.template) for each in (stack, chosen)]
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--non-zero-exit-code", "informational", "--template"]
    found = subprocess.run([*command, *templates], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("settings", CHOICES, ids=["default", "chosen"])
def test_cdk_nag_finds_nothing_without_a_reason(settings: StackSettings, tmp_path: Path) -> None:
    # Loading cdk-nag takes seconds and synthesizing does not need it, so only this test does.
    import aws_cdk as cdk
    from cdk_nag import AwsSolutionsChecks

    from stack.stack import EsStack

    app = cdk.App(outdir=str(tmp_path), builtin_cloud_formation_validation=False)
    asset = build_asset(cache_folder("assets"))
    EsStack(app, settings, asset.path, registry(), synthesizer=cdk.CliCredentialsStackSynthesizer())
    report = AwsSolutionsChecks(app, verbose=True).validate_scope(app)
    found = [
        f"{violation.rule_name} {resource.construct_path}: {violation.description}"
        for violation in report.violations
        for resource in violation.violating_resources
    ]
    assert found == []


@pytest.mark.parametrize("settings", CHOICES, ids=["default", "chosen"])
def test_the_cdks_own_rules_find_nothing(settings: StackSettings, tmp_path: Path) -> None:
    synthesized(tmp_path, settings, validate=True)


def test_what_the_cdks_own_rules_find_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.observability.LAG_PERIODS", 0)
    with pytest.raises(SynthesisError) as raised:
        synthesized(tmp_path, StackSettings("esctl"), validate=True)
    assert [finding.partition(": ")[0] for finding in raised.value.findings] == [
        "esctl/Observability/TestItemsLagAlarm"
    ]


def test_what_a_construct_refuses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.projection.PROJECTOR_TIMEOUT_S", 90_000)
    with pytest.raises(SynthesisError, match="visibility timeout must be between 0 and 43,200 seconds"):
        synthesized(tmp_path, StackSettings("esctl"))


def test_the_constructs_warn_of_nothing(stack: Synthesized) -> None:
    metadata = json.loads((stack.info.template.parent / "esctl.metadata.json").read_text())
    kinds = {entry["type"] for entries in metadata.values() for entry in entries}
    assert not kinds & {"aws:cdk:warning", "aws:cdk:error", "aws:cdk:info"}


def test_same_sources_give_the_same_template(stack: Synthesized, tmp_path: Path) -> None:
    again = synthesized(tmp_path / "elsewhere with a space", StackSettings("esctl"))
    assert again.text == stack.text
    assert again.files == stack.files


def test_assembly_goes_to_one_bucket_per_account_and_region(stack: Synthesized) -> None:
    destinations = [place for file in stack.files for place in file["destinations"].values()]
    assert {place["bucketName"] for place in destinations} == {"esctl-assets-${AWS::AccountId}-${AWS::Region}"}
    assert stack.info.asset.name.removeprefix("asset.") in {place["objectKey"] for place in destinations}
    assert not {key for place in destinations for key in place if key.startswith("assumeRole")}


def test_template_needs_no_bootstrapped_account(stack: Synthesized) -> None:
    assert set(stack.document) == {"Resources", "Parameters", "Outputs"}
    assert set(stack.document["Parameters"]) == {"ApiKey"}
