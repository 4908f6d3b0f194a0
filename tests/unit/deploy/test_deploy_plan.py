"""Change sets as they are read and shown, and what a stack's state allows."""

import io
from pathlib import Path
from typing import Any

import pytest

from cli.deploy.assembly import Assembly, Asset
from cli.deploy.permission_diff import Grant
from cli.deploy.plan import Action, Change, ChangeSet, Plan, all_new, change_of, in_order, obstacle
from cli.deploy.screen import OperationView, show_plan, summary
from cli.terminal.environment import Environment
from cli.terminal.output import Output
from tests.unit.deploy.fakes import AWS, LOCAL, STACK_ID, TEMPLATE, event, stack, stack_event


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
    assert summary([echo, own]) == "1 may be replaced; 1 other changes only because it references these"
    assert summary([echo, echo]) == "nothing to change; 2 others change only because they reference these"


def test_hooks_are_no_resources() -> None:
    assert change_of({"Type": "Hook"}) is None


@pytest.mark.parametrize(
    ("status", "reason", "empty"),
    [
        ("FAILED", "The submitted information didn't contain changes. Submit different information …", True),
        ("FAILED", "No updates are to be performed.", True),
        ("FAILED", "Access denied", False),
        ("CREATE_COMPLETE", "", True),
        ("CREATE_PENDING", "", False),
    ],
)
def test_only_a_change_set_without_changes_is_empty(status: str, reason: str, empty: bool) -> None:
    assert ChangeSet("set", STACK_ID, status, reason).is_empty is empty


def test_what_loses_data_comes_first() -> None:
    table = Change(Action.REPLACE, "Events", "AWS::DynamoDB::Table")
    role = Change(Action.REPLACE, "Role", "AWS::IAM::Role")
    new = Change(Action.ADD, "Alarm", "AWS::CloudWatch::Alarm")
    assert in_order([new, role, table]) == (table, role, new)


def test_a_reference_to_what_changes_is_no_risk() -> None:
    own = Change(Action.MAY_REPLACE, "Events", "AWS::DynamoDB::Table")
    echo = Change(Action.MAY_REPLACE, "Queue", "AWS::SQS::Queue", follows=True)
    assert plan(own, echo).question == "This may replace Events (data loss). Continue?"
    assert plan(echo).question is None


def test_all_risks_are_one_question() -> None:
    table = Change(Action.REMOVE, "Events", "AWS::DynamoDB::Table")
    grants = (Grant("Role", "s3:GetObject", "*"), Grant("Role", "s3:PutObject", "*"))
    assert plan(table, grants=grants).question == (
        "This replaces or removes Events (data loss) and grants 2 new permissions. Continue?"
    )


def test_a_new_stack_adds_everything() -> None:
    assert [each.action for each in all_new(TEMPLATE)] == [Action.ADD, Action.ADD]


@pytest.mark.parametrize(
    ("status", "is_obstacle"),
    [
        ("CREATE_COMPLETE", False),
        ("UPDATE_ROLLBACK_COMPLETE", False),
        ("IMPORT_COMPLETE", False),
        ("REVIEW_IN_PROGRESS", False),
        ("CREATE_IN_PROGRESS", False),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", False),
        ("DELETE_IN_PROGRESS", False),
        ("ROLLBACK_COMPLETE", False),
        ("ROLLBACK_FAILED", False),
        ("UPDATE_FAILED", True),
        ("UPDATE_ROLLBACK_FAILED", True),
        ("DELETE_FAILED", True),
        ("SOMETHING_NEW", True),
    ],
)
def test_in_which_state_an_operator_has_to_act_first(status: str, is_obstacle: bool) -> None:
    found = obstacle(stack(status), AWS)
    assert (found is not None) is is_obstacle
    if found is not None:
        why, remedy = found
        assert why
        assert "shop" in remedy


def plan(*changes: Change, grants: tuple[Grant, ...] = (), target: Any = AWS) -> Plan:
    """Return the plan of an update."""
    assembly = Assembly({}, Asset(Path(), ""), ())
    return Plan(target, assembly, stack(), None, changes, grants, ChangeSet("set", STACK_ID, "CREATE_COMPLETE"))


def output(*, terminal: bool) -> tuple[Output, io.StringIO, io.StringIO]:
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
    return Output(environment), out, err


CHANGES = (
    Change(Action.REPLACE, "Events", "AWS::DynamoDB::Table", ("KeySchema",), keeps_old=True),
    Change(Action.ADD, "Alarm", "AWS::CloudWatch::Alarm"),
    Change(Action.MAY_REPLACE, "Permission", "AWS::Lambda::Permission", ("FunctionName",), follows=True),
)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_plan_says_in_words_what_colour_only_stresses(terminal: bool) -> None:
    shown, out, err = output(terminal=terminal)
    grants = (Grant("Role", "s3:GetObject", "*"), Grant("Role", "s3:PutObject", "*", public=True))
    show_plan(shown, plan(*CHANGES, grants=grants))
    text = err.getvalue()
    assert out.getvalue() == ""
    assert "replace (DATA!)" in text
    assert "KeySchema (the old one is retained)" in text
    assert "1 to replace, 1 to add; 1 other changes only because it references these." in text
    assert "Role (PUBLIC)" in text
    assert ("\x1b[1;31m" in text) is terminal
    assert "Permission  " not in text


def test_a_large_creation_is_shown_by_type() -> None:
    shown, _, err = output(terminal=False)
    show_plan(shown, plan(*(Change(Action.ADD, f"T{number}", "AWS::SNS::Topic") for number in range(30))))
    assert "30  SNS::Topic" in err.getvalue()
    assert len(err.getvalue().splitlines()) == 3


def test_a_long_list_of_permissions_is_cut() -> None:
    shown, _, err = output(terminal=False)
    show_plan(shown, plan(*CHANGES, grants=tuple(Grant(f"Role{number}", "a:B", "*") for number in range(45))))
    assert "... and 5 more; -o json shows all" in err.getvalue()


def test_the_local_target_grants_itself_what_it_wants() -> None:
    assert plan(CHANGES[1], grants=(Grant("Role", "s3:GetObject", "*"),), target=LOCAL).question is None


def test_a_terminal_sees_failures_after_the_display_is_gone() -> None:
    shown, out, err = output(terminal=True)
    with OperationView(shown, "Creating shop", expected=3) as view:
        view.show(event("Role", "CREATE_IN_PROGRESS"))
        view.show(event("Events", "CREATE_FAILED", "too many [bold]indexes[/bold]"))
    assert "too many [bold]indexes[/bold]" in err.getvalue()
    assert "Creating shop: 1 of 3 resources" in err.getvalue()
    assert "CREATE_IN_PROGRESS   Role" in err.getvalue()
    assert out.getvalue() == ""


def test_a_log_gets_one_line_for_each_resource() -> None:
    shown, _, err = output(terminal=False)
    with OperationView(shown, "Creating shop") as view:
        for each in ("CREATE_IN_PROGRESS", "CREATE_COMPLETE"):
            view.show(event("Role", each))
    lines = err.getvalue().splitlines()
    assert len(lines) == 2
    assert "CREATE_COMPLETE" in lines[1]


def test_a_brief_log_counts() -> None:
    shown, _, err = output(terminal=False)
    with OperationView(shown, "Creating shop", brief=True) as view:
        view.show(event("Role", "CREATE_COMPLETE"))
        view.show(event("Events", "CREATE_FAILED", "no"))
        view.show(stack_event("CREATE_FAILED"))
    assert [line.split("  ")[-1] for line in err.getvalue().splitlines()] == [
        "Creating shop ...",
        "no",
        "Creating shop: 2 resources, CREATE_FAILED",
    ]


def test_a_rollback_is_counted_from_zero() -> None:
    shown, _, err = output(terminal=False)
    with OperationView(shown, "Creating shop", expected=10, brief=True) as view:
        view.show(event("Role", "CREATE_COMPLETE"))
        view.show(event("Events", "CREATE_COMPLETE"))
        view.show(stack_event("ROLLBACK_IN_PROGRESS"))
        view.show(event("Role", "DELETE_COMPLETE"))
        view.show(stack_event("ROLLBACK_COMPLETE"))
    assert err.getvalue().splitlines()[-1] == "Creating shop: 1 resources, ROLLBACK_COMPLETE"
