"""Change sets as they are read and shown; states; checks before anything is touched."""

import io
from pathlib import Path
from typing import Any

import pytest

from cli.deployment.changes import all_new, change_of, counted, in_order, is_empty, losing_data
from cli.deployment.checks import checked_target
from cli.deployment.model import Action, Change
from cli.deployment.progress import PlainView, Tally
from cli.deployment.reporter import OutputReporter
from cli.deployment.states import Verdict, judge
from cli.deployment.widening import Widening
from cli.environment import Environment
from cli.errors import AccessError, CliError, ExitCode
from cli.output import Output
from cli.settings import Settings
from cli.targets import Target
from tests.unit.deployment.fakes import AWS, LOCAL, TEMPLATE, event, stack, stack_event


def entry(action: str, replacement: str | None = None, **more: Any) -> dict[str, Any]:
    change = {"Action": action, "LogicalResourceId": "Events", "ResourceType": "AWS::DynamoDB::Table", **more}
    return {"ResourceChange": {**change, **({"Replacement": replacement} if replacement else {})}}


def detail(evaluation: str, source: str, name: str = "Role") -> dict[str, Any]:
    return {"Target": {"Attribute": "Properties", "Name": name}, "Evaluation": evaluation, "ChangeSource": source}


@pytest.mark.parametrize(
    ("given", "action"),
    [
        (entry("Add"), Action.ADD),
        (entry("Remove"), Action.REMOVE),
        (entry("Import"), Action.IMPORT),
        (entry("Modify", "False"), Action.CHANGE),
        (entry("Modify", "True"), Action.REPLACE),
        (entry("Modify", "Conditional"), Action.MAY_REPLACE),
        (entry("Modify"), Action.CHANGE),
        (entry("Dynamic"), Action.MAY_REPLACE),
    ],
)
def test_what_an_entry_means(given: dict[str, Any], action: Action) -> None:
    change = change_of(given)
    assert change is not None
    assert change.action is action


def test_an_entry_says_what_changes_and_what_stays() -> None:
    details = [detail("Static", "DirectModification", "KeySchema"), {"Target": {"Attribute": "Tags"}}]
    change = change_of(entry("Modify", "True", Details=details, PolicyAction="ReplaceAndRetain"))
    assert change == Change(Action.REPLACE, "Events", "AWS::DynamoDB::Table", ("KeySchema", "Tags"), keeps_old=True)


def test_an_entry_that_only_refers_to_a_change_is_told_apart() -> None:
    echo = change_of(entry("Modify", "Conditional", Details=[detail("Dynamic", "ResourceAttribute")]))
    own = change_of(entry("Modify", "Conditional", Details=[detail("Static", "DirectModification")]))
    assert echo is not None
    assert own is not None
    assert (echo.follows, own.follows) == (True, False)
    assert counted([echo, own]) == "1 to replace perhaps"


def test_hooks_are_no_resources() -> None:
    assert change_of({"Type": "Hook"}) is None


def test_only_a_change_set_without_changes_is_empty() -> None:
    assert is_empty("FAILED", "The submitted information didn't contain changes. Submit different information …")
    assert is_empty("FAILED", "No updates are to be performed.")
    assert not is_empty("FAILED", "Access denied")
    assert not is_empty("CREATE_COMPLETE", "")


def test_what_loses_data_comes_first() -> None:
    table = Change(Action.REPLACE, "Events", "AWS::DynamoDB::Table")
    role = Change(Action.REPLACE, "Role", "AWS::IAM::Role")
    new = Change(Action.ADD, "Alarm", "AWS::CloudWatch::Alarm")
    assert in_order([new, role, table]) == (table, role, new)
    assert losing_data([new, role, table]) == (table,)


def test_what_may_replace_a_table_loses_data_perhaps() -> None:
    own = Change(Action.MAY_REPLACE, "Events", "AWS::DynamoDB::Table")
    echo = Change(Action.MAY_REPLACE, "Queue", "AWS::SQS::Queue", follows=True)
    assert losing_data([own, echo]) == ()
    assert losing_data([own, echo], perhaps=True) == (own,)


def test_a_new_stack_adds_everything() -> None:
    assert [each.action for each in all_new(TEMPLATE)] == [Action.ADD, Action.ADD]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("CREATE_COMPLETE", Verdict.UPDATE),
        ("UPDATE_ROLLBACK_COMPLETE", Verdict.UPDATE),
        ("IMPORT_COMPLETE", Verdict.UPDATE),
        ("REVIEW_IN_PROGRESS", Verdict.CREATE),
        ("CREATE_IN_PROGRESS", Verdict.FOLLOW),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", Verdict.FOLLOW),
        ("DELETE_IN_PROGRESS", Verdict.FOLLOW),
        ("ROLLBACK_COMPLETE", Verdict.RECREATE),
        ("ROLLBACK_FAILED", Verdict.RECREATE),
        ("UPDATE_FAILED", Verdict.STUCK),
        ("UPDATE_ROLLBACK_FAILED", Verdict.STUCK),
        ("DELETE_FAILED", Verdict.STUCK),
        ("SOMETHING_NEW", Verdict.STUCK),
    ],
)
def test_what_each_state_allows(status: str, verdict: Verdict) -> None:
    judgement = judge(stack(status), AWS)
    assert judgement.verdict is verdict
    if verdict in (Verdict.STUCK, Verdict.RECREATE):
        assert judgement.why
        assert "shop" in judgement.mend


class NobodyThere:
    """boto3 clients without credentials."""

    def client(self, service: str) -> Any:
        raise AccessError("no AWS credentials: none were found", "Sign in.")


def test_all_that_is_missing_is_said_at_once() -> None:
    target = Target("aws", "shop", "eu-central-1")
    with pytest.raises(CliError) as caught:
        checked_target(target, Settings(), lambda _: NobodyThere(), creates=True)  # type: ignore[arg-type,return-value]
    assert caught.value.exit_code == ExitCode.ACCESS
    assert len(caught.value.faults) == 2
    assert "credentials" in caught.value.faults[0]
    assert "API_KEY" in caught.value.faults[1]


def test_a_single_fault_keeps_its_own_words() -> None:
    target = Target("aws", "shop", "eu-central-1")
    with pytest.raises(AccessError, match="no AWS credentials"):
        checked_target(target, Settings(), lambda _: NobodyThere(), creates=False)  # type: ignore[arg-type,return-value]


def test_the_local_target_needs_no_credentials() -> None:
    assert checked_target(LOCAL, Settings(), lambda _: NobodyThere(), creates=True) is LOCAL  # type: ignore[arg-type,return-value]


def reporter(*, terminal: bool) -> tuple[OutputReporter, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    environment = Environment(
        stdin=io.StringIO(),
        stdout=out,
        stderr=err,
        variables={},
        directory=Path(),
        stderr_is_terminal=terminal,
        width=160,
    )
    return OutputReporter(Output(environment)), out, err


PLAN = [
    Change(Action.REPLACE, "Events", "AWS::DynamoDB::Table", ("KeySchema",), keeps_old=True),
    Change(Action.ADD, "Alarm", "AWS::CloudWatch::Alarm"),
    Change(Action.MAY_REPLACE, "Permission", "AWS::Lambda::Permission", ("FunctionName",), follows=True),
]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_plan_says_in_words_what_colour_only_stresses(terminal: bool) -> None:
    shown, out, err = reporter(terminal=terminal)
    shown.plan(PLAN, [Widening("Role", "s3:GetObject", "*"), Widening("Role", "s3:PutObject", "*", public=True)])
    text = err.getvalue()
    assert out.getvalue() == ""
    assert "replace (DATA!)" in text
    assert "KeySchema (the old one stays)" in text
    assert "1 to add, 1 to replace; 1 more only refer to these." in text
    assert "Role (PUBLIC)" in text
    assert ("\x1b[1;31m" in text) is terminal
    assert "Permission  " not in text


def test_a_large_creation_is_shown_by_type() -> None:
    shown, _, err = reporter(terminal=False)
    shown.plan([Change(Action.ADD, f"T{number}", "AWS::SNS::Topic") for number in range(30)], [])
    assert "30  SNS::Topic" in err.getvalue()
    assert len(err.getvalue().splitlines()) == 3


def test_a_terminal_sees_failures_after_the_display_is_gone() -> None:
    shown, out, err = reporter(terminal=True)
    with shown.watching("Creating shop", 3) as view:
        view.show(event("Role", "CREATE_IN_PROGRESS"))
        view.show(event("Events", "CREATE_FAILED", "too many [bold]indexes[/bold]"))
    assert "too many [bold]indexes[/bold]" in err.getvalue()
    assert out.getvalue() == ""


def test_a_log_gets_one_line_for_each_resource() -> None:
    lines: list[str] = []
    with PlainView(lines.append, "Creating shop") as view:
        for each in ("CREATE_IN_PROGRESS", "CREATE_COMPLETE"):
            view.show(event("Role", each))
    assert len(lines) == 2
    assert "CREATE_COMPLETE" in lines[1]


def test_a_brief_log_counts() -> None:
    lines: list[str] = []
    with PlainView(lines.append, "Creating shop", brief=True) as view:
        view.show(event("Role", "CREATE_COMPLETE"))
        view.show(event("Events", "CREATE_FAILED", "no"))
        view.show(stack_event("CREATE_FAILED"))
    assert [line.split("  ")[-1] for line in lines] == [
        "Creating shop ...",
        "no",
        "Creating shop: 2 resources, CREATE_FAILED",
    ]


def test_a_roll_back_is_counted_anew() -> None:
    tally = Tally(expected=10)
    tally.count(event("Role", "CREATE_COMPLETE"))
    tally.count(stack_event("ROLLBACK_IN_PROGRESS"))
    tally.count(event("Role", "DELETE_IN_PROGRESS"))
    assert (len(tally.done), tally.total, list(tally.active)) == (0, 1, ["Role"])
