"""Deploying over a scripted account: what is asked, done, said and left behind."""

import io
import json
from pathlib import Path

import pytest

from cli.config.selection import Targets
from cli.deploy.plan import Action, Change
from cli.deploy.run import deploy, destroy, diff
from cli.errors import AccessError, CliError, DeploymentError, ExitCode, SettingError, TimedOutError, UsageError
from tests.unit.deploy.fakes import AWS, KEY, LOCAL, STACK_ID, TEMPLATE, World, event, stack, stack_event

NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."
CHANGED = (Change(Action.CHANGE, "Role", "AWS::IAM::Role", ("Policies",)),)
REPLACED = (Change(Action.REPLACE, "Events", "AWS::DynamoDB::Table", ("KeySchema",)),)
STACK = "CloudFormation::Stack"
MAY_REPLACE = (Change(Action.MAY_REPLACE, "Events", "AWS::DynamoDB::Table", ("KeySchema",)),)


def with_policy(*actions: str) -> dict[str, object]:
    statements = [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]
    role = {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": {"Statement": statements}}]}}
    return {**TEMPLATE, "Resources": {**TEMPLATE["Resources"], "Role": role}}


def deployed(world: World) -> None:
    """Deploy a stack, and forget what was said."""
    deploy(world.context(yes=True))
    world.stderr = io.StringIO()
    world.cloudformation.pending = 1


def unchanged(world: World) -> None:
    world.cloudformation.status, world.cloudformation.reason = "FAILED", NO_CHANGES


class TestCreating:
    def test_it_uploads_executes_follows_and_remembers(self, world: World) -> None:
        plan, made = deploy(world.context(yes=True))

        assert (plan.action, made.status) == ("create", "CREATE_COMPLETE")
        assert world.assets.prepared
        assert world.assets.uploads[0] == "c0de.zip"
        assert world.cloudformation.executed == ["set-1"]
        assert [line.split()[1] for line in world.said.splitlines() if STACK in line] == [
            "CREATE_IN_PROGRESS",
            "CREATE_COMPLETE",
        ]
        current = Targets(world.context().state).current()
        assert current is not None
        assert (current.record, dict(current.outputs)) == (AWS.record, dict(stack().outputs))

    def test_on_aws_it_asks_once(self, world: World) -> None:
        world.answer = "y"
        deploy(world.context())
        assert world.asked == 1
        assert "Create stack shop with 2 resources in account 123456789012, region eu-central-1?" in world.said

    def test_declined_nothing_is_left(self, world: World) -> None:
        world.answer = "n"
        with pytest.raises(CliError, match="nothing was changed"):
            deploy(world.context())
        assert (world.cloudformation.requests, world.assets.prepared, world.cloudformation.found) == ([], False, None)

    def test_without_a_terminal_it_wants_yes(self, world: World) -> None:
        with pytest.raises(UsageError) as caught:
            deploy(world.context())
        assert "--yes" in caught.value.hint
        assert world.cloudformation.requests == []

    def test_on_the_local_target_it_does_not_ask(self, world: World) -> None:
        assert deploy(world.context(LOCAL))[0].action == "create"
        assert world.asked == 0

    def test_the_key_is_a_parameter_and_nowhere_else(self, world: World) -> None:
        plan, _ = deploy(world.context(yes=True))
        request = world.cloudformation.requests[0]
        assert request.api_key == KEY
        assert KEY not in repr(plan)
        assert KEY not in repr(world.context())
        assert KEY not in world.said
        texts = [path.read_bytes() for path in world.folder.rglob("*") if path.is_file()]
        assert not any(KEY.encode() in text for text in texts)

    def test_a_refused_change_set_leaves_no_empty_stack(self, world: World) -> None:
        world.cloudformation.status, world.cloudformation.reason = "FAILED", "Unresolved resource dependencies"
        with pytest.raises(DeploymentError, match="Unresolved"):
            deploy(world.context(yes=True))
        assert world.cloudformation.open == set()
        assert world.cloudformation.deleted == [STACK_ID]

    def test_a_change_set_that_is_never_ready_is_given_up(self, world: World) -> None:
        world.cloudformation.pending = 10_000
        with pytest.raises(TimedOutError):
            deploy(world.context(yes=True))
        assert world.cloudformation.open == set()
        assert world.cloudformation.deleted == [STACK_ID]

    def test_an_upload_that_is_lost_stops_it_before_the_execution(self, world: World) -> None:
        world.assets.loses = True
        with pytest.raises(DeploymentError, match=r"c0de\.zip failed: it is missing"):
            deploy(world.context(yes=True))
        assert world.cloudformation.requests == []

    def test_an_execution_that_is_refused_leaves_nothing(self, world: World) -> None:
        def refused(change_set_id: str, token: str) -> None:
            raise CliError("another change set was executed")

        world.cloudformation.execute = refused  # type: ignore[method-assign]
        with pytest.raises(CliError, match="another change set"):
            deploy(world.context(yes=True))
        assert world.cloudformation.open == set()
        assert world.cloudformation.deleted == [STACK_ID]

    def test_a_bucket_of_somebody_else_is_refused(self, world: World) -> None:
        world.assets.foreign = True
        with pytest.raises(AccessError, match="belongs to another account"):
            deploy(world.context(yes=True))

    def test_the_template_deployed_is_the_one_synthesized(self, world: World) -> None:
        deploy(world.context(yes=True))
        (template,) = world.folder.glob("assemblies/*/shop.template.json")
        key = world.assets.uploads[-1]
        assert json.loads(template.read_text()) == TEMPLATE
        assert world.cloudformation.requests[0].template_url == f"https://{world.assets.bucket}/{key}"


class TestUnchanged:
    def test_an_empty_change_set_says_so_and_is_dropped(self, world: World) -> None:
        deployed(world)
        unchanged(world)
        plan, found = deploy(world.context())
        assert (plan.action, found.status) == ("unchanged", "CREATE_COMPLETE")
        assert world.cloudformation.open == set()
        assert world.cloudformation.executed == ["set-1"]

    def test_it_is_neither_synthesized_nor_uploaded_again(self, world: World) -> None:
        deployed(world)
        unchanged(world)
        world.assets.uploads.clear()
        deploy(world.context())
        assert (world.syntheses, world.assets.uploads) == (1, [])

    def test_a_stack_that_somebody_else_changed_is_compared_like_any_other(self, world: World) -> None:
        deployed(world)
        world.cloudformation.found = stack("UPDATE_ROLLBACK_COMPLETE")
        assert deploy(world.context())[0].action == "update"

    def test_it_becomes_the_current_target_all_the_same(self, world: World) -> None:
        deployed(world)
        Targets(world.context().state).forget(AWS)
        unchanged(world)
        deploy(world.context())
        current = Targets(world.context().state).current()
        assert current is not None
        assert current.record == AWS.record


class TestAssemblies:
    def test_another_setting_makes_another_one(self, world: World) -> None:
        deployed(world)
        assert deploy(world.context(tracing=True))[0].action == "update"
        assert world.syntheses == 2

    def test_back_to_earlier_settings_it_is_still_there(self, world: World) -> None:
        deployed(world)
        deploy(world.context(tracing=True))
        deploy(world.context())
        assert world.syntheses == 2

    @pytest.mark.parametrize("damaged", ["code.zip", "shop.template.json", "shop.assets.json", "esctl.sha256"])
    def test_a_damaged_one_is_synthesized_again(self, world: World, damaged: str) -> None:
        deployed(world)
        (path,) = world.folder.glob(f"assemblies/*/{damaged}")
        path.write_bytes(b"\xff" + path.read_bytes()[1:])
        deploy(world.context())
        assert world.syntheses == 2
        assert not path.read_bytes().startswith(b"\xff")

    def test_an_incomplete_one_is_synthesized_again(self, world: World) -> None:
        deployed(world)
        (path,) = world.folder.glob("assemblies/*/code.zip")
        path.unlink()
        deploy(world.context())
        assert world.syntheses == 2

    def test_an_interrupted_synthesis_leaves_none(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(world, "synthesize", interrupted)
        with pytest.raises(KeyboardInterrupt):
            diff(world.context())
        assert list((world.folder / "assemblies").iterdir()) == []

    def test_the_least_recently_used_ones_are_removed(self, world: World) -> None:
        for number in range(6):
            world.sources = f"sources-{number}"
            diff(world.context())
        assert len(list((world.folder / "assemblies").iterdir())) == 4

    def test_they_are_private(self, world: World) -> None:
        diff(world.context())
        paths = [world.folder / "assemblies", *(world.folder / "assemblies").rglob("*")]
        assert {path.stat().st_mode & 0o077 for path in paths} == {0}


class TestTheKeyOfAnUpdate:
    def test_an_unknown_one_stays_as_it_is(self, world: World) -> None:
        deployed(world)
        deploy(world.context(api_key=None))
        assert world.cloudformation.requests[-1].api_key is None

    def test_another_one_is_sent(self, world: World) -> None:
        deployed(world)
        deploy(world.context(api_key="another-key-of-24-letters"))
        assert world.cloudformation.requests[-1].api_key == "another-key-of-24-letters"

    def test_a_new_stack_on_aws_needs_one(self, world: World) -> None:
        with pytest.raises(SettingError, match="API_KEY is missing"):
            deploy(world.context(api_key=None, yes=True))
        assert world.syntheses == 0

    def test_so_does_a_stack_that_has_none(self, world: World) -> None:
        world.cloudformation.found = stack(parameters=())
        with pytest.raises(SettingError, match="API_KEY is missing"):
            deploy(world.context(api_key=None, yes=True))

    @pytest.mark.parametrize(
        "key", ["too-short", "x" * 129, "twenty characters and a space", "ключ-ключ-ключ-ключ-ключ"]
    )
    def test_a_wrong_form_is_refused_before_anything(self, world: World, key: str) -> None:
        with pytest.raises(SettingError) as caught:
            deploy(world.context(api_key=key, yes=True))
        assert key not in caught.value.message
        assert world.cloudformation.requests == []

    def test_the_local_target_makes_one_up_and_keeps_it(self, world: World) -> None:
        deploy(world.context(LOCAL, api_key=None))
        first = world.cloudformation.requests[-1].api_key
        assert first is not None
        assert len(first) >= 20
        deploy(world.context(LOCAL, api_key=None))
        assert world.cloudformation.requests[-1].api_key == first
        assert kept_key(world) == first
        assert (world.folder / "keys" / LOCAL.record).stat().st_mode & 0o777 == 0o600

    def test_an_interrupted_creation_goes_on_with_the_same_one(self, world: World) -> None:
        world.cloudformation.interrupt_after = 0
        with pytest.raises(CliError):
            deploy(world.context(LOCAL, api_key=None))
        world.cloudformation.interrupt_after = None
        unchanged(world)
        deploy(world.context(LOCAL, api_key=None))
        assert {request.api_key for request in world.cloudformation.requests} == {kept_key(world)}

    def test_a_failed_update_keeps_the_one_that_the_stack_has(self, world: World) -> None:
        deploy(world.context(LOCAL))
        world.cloudformation.steps = [("UPDATE_ROLLBACK_COMPLETE", [event("Role", "UPDATE_FAILED", "no")])]
        with pytest.raises(DeploymentError):
            deploy(world.context(LOCAL, api_key="another-key-of-24-letters"))
        assert kept_key(world) == KEY

    def test_comparing_keeps_none(self, world: World) -> None:
        deploy(world.context(LOCAL))
        diff(world.context(LOCAL, api_key="another-key-of-24-letters"))
        assert kept_key(world) == KEY


def kept_key(world: World) -> str:
    return (world.folder / "keys" / LOCAL.record).read_text().strip()


class TestConsent:
    def test_a_new_permission_is_shown_and_asked_for(self, world: World) -> None:
        deployed(world)
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        world.answer = "y"
        plan, _ = deploy(world.context())
        assert [str(each) for each in plan.permissions] == ["Role may s3:GetObject on *"]
        assert "New permissions" in world.said
        assert "This grants 1 new permission. Continue?" in world.said

    @pytest.mark.parametrize(("answer", "error"), [("n", CliError), (None, UsageError)])
    def test_declined_or_unanswered_the_change_set_is_dropped(
        self, world: World, answer: str | None, error: type[CliError]
    ) -> None:
        deployed(world)
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        world.answer = answer
        with pytest.raises(error):
            deploy(world.context())
        assert world.cloudformation.open == set()
        assert world.cloudformation.executed == ["set-1"]

    def test_yes_consents(self, world: World) -> None:
        deployed(world)
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        assert deploy(world.context(yes=True))[0].action == "update"
        assert world.asked == 0

    def test_fewer_permissions_need_none(self, world: World) -> None:
        deployed(world)
        world.cloudformation.deployed = with_policy("s3:GetObject")
        assert deploy(world.context())[0].action == "update"
        assert world.asked == 0

    def test_on_the_local_target_new_permissions_are_shown_not_asked_for(self, world: World) -> None:
        deploy(world.context(LOCAL))
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        deploy(world.context(LOCAL))
        assert "New permissions" in world.said
        assert world.asked == 0

    def test_replacing_a_table_is_asked_for_on_every_target(self, world: World) -> None:
        deploy(world.context(LOCAL))
        world.cloudformation.changes = REPLACED
        world.answer = "n"
        with pytest.raises(CliError):
            deploy(world.context(LOCAL))
        assert "This replaces or removes Events (data loss). Continue?" in world.said

    def test_a_table_that_may_be_replaced_is_asked_for_on_aws_only(self, world: World) -> None:
        """The emulator reports every change of a type that it knows little about as a conditional replacement."""
        deploy(world.context(LOCAL))
        world.cloudformation.changes = MAY_REPLACE
        deploy(world.context(LOCAL))
        assert world.asked == 0
        world.answer = "n"
        with pytest.raises(CliError):
            deploy(world.context(AWS))
        assert "This may replace Events" in world.said

    def test_the_emulator_would_overwrite_kept_events_so_it_asks(self, world: World) -> None:
        destroyed_keeping(world, items=True)
        world.answer = "n"
        with pytest.raises(CliError, match="nothing was changed"):
            deploy(world.context(LOCAL))
        assert "This permanently deletes the events kept in shop-Events-1. Continue?" in world.said
        assert len(world.cloudformation.requests) == 1

    def test_it_asks_even_where_a_failed_creation_is_repeated(self, world: World) -> None:
        destroyed_keeping(world, items=True)
        world.cloudformation.found = stack("ROLLBACK_COMPLETE")
        world.cloudformation.steps = [("DELETE_COMPLETE", [stack_event("DELETE_COMPLETE")])]
        world.answer = "n"
        with pytest.raises(CliError, match="nothing was changed"):
            deploy(world.context(LOCAL))
        assert "permanently deletes the events kept in shop-Events-1" in world.said

    def test_diff_names_the_kept_events_too(self, world: World) -> None:
        destroyed_keeping(world, items=True)
        diff(world.context(LOCAL))
        assert "replaces table shop-Events-1" in world.said

    def test_kept_but_empty_tables_are_no_question(self, world: World) -> None:
        destroyed_keeping(world, items=False)
        assert deploy(world.context(LOCAL))[0].action == "create"


def destroyed_keeping(world: World, *, items: bool) -> None:
    """Deploy and destroy a local stack, whose table of events stays."""
    deploy(world.context(LOCAL))
    world.cloudformation.held = {"Events": "shop-Events-1"}
    world.cloudformation.steps = [("DELETE_COMPLETE", [stack_event("DELETE_COMPLETE")])]
    destroy(world.context(LOCAL, yes=True), delete_events=False)
    world.tables.tables = {"shop-Events-1": items}


class TestStuckStates:
    def test_update_rollback_failed_names_the_command_that_resolves_it(self, world: World) -> None:
        world.cloudformation.found = stack("UPDATE_ROLLBACK_FAILED", reason="Role is in use")
        for act in (deploy, diff):
            with pytest.raises(DeploymentError, match="Role is in use") as caught:
                act(world.context(yes=True))
            assert "continue-update-rollback --stack-name shop --region eu-central-1" in caught.value.hint

    def test_delete_failed_names_destroy(self, world: World) -> None:
        world.cloudformation.found = stack("DELETE_FAILED")
        with pytest.raises(DeploymentError) as caught:
            deploy(world.context(yes=True))
        assert "esctl destroy --region eu-central-1 --stack-name shop" in caught.value.hint

    @pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"])
    def test_a_failed_creation_is_deleted_with_consent_and_created_again(self, world: World, status: str) -> None:
        world.cloudformation.found = stack(status)
        world.cloudformation.steps = [
            ("DELETE_COMPLETE", [event("Events", "DELETE_SKIPPED"), stack_event("DELETE_COMPLETE")]),
            ("CREATE_COMPLETE", [stack_event("CREATE_COMPLETE")]),
        ]
        world.answer = "y"
        assert deploy(world.context())[0].action == "create"
        assert world.asked == 1
        assert "Delete and recreate it?" in world.said
        assert "left behind by the failed creation: AWS::DynamoDB::Table Events-1" in world.said
        assert world.cloudformation.requests[0].creating

    def test_a_failed_creation_stays_when_declined(self, world: World) -> None:
        world.cloudformation.found = stack("ROLLBACK_COMPLETE")
        world.answer = "n"
        with pytest.raises(CliError, match="nothing was changed"):
            deploy(world.context())
        assert world.cloudformation.deleted == []

    @pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"])
    def test_diff_takes_it_for_a_creation(self, world: World, status: str) -> None:
        world.cloudformation.found = stack(status)
        assert diff(world.context()).action == "create"
        assert (world.cloudformation.deleted, world.cloudformation.requests) == ([], [])

    def test_a_name_in_review_is_taken_over(self, world: World) -> None:
        world.cloudformation.found = stack("REVIEW_IN_PROGRESS", tags={}, outputs={}, parameters=())
        assert deploy(world.context(yes=True))[0].action == "create"

    def test_what_runs_is_followed_first(self, world: World) -> None:
        world.cloudformation.found = stack("UPDATE_IN_PROGRESS")
        world.cloudformation.history = [stack_event("UPDATE_IN_PROGRESS"), event("Role", "UPDATE_IN_PROGRESS")]
        world.cloudformation.steps = [
            ("UPDATE_IN_PROGRESS", [event("Role", "UPDATE_COMPLETE")]),
            ("UPDATE_COMPLETE", [stack_event("UPDATE_COMPLETE")]),
        ]
        unchanged(world)
        assert deploy(world.context())[0].action == "unchanged"
        assert "following it to its end first" in world.said
        assert "UPDATE_COMPLETE      Role" in world.said

    def test_a_stack_that_is_not_ours_is_left_alone(self, world: World) -> None:
        world.cloudformation.found = stack(tags={}, outputs={"BucketName": "x"})
        with pytest.raises(DeploymentError, match="not created by esctl"):
            deploy(world.context(yes=True))

    def test_a_stack_of_cdk_deploy_is_ours(self, world: World) -> None:
        world.cloudformation.found = stack(tags={})
        assert deploy(world.context(yes=True))[0].action == "update"


class TestFailing:
    def test_the_first_cause_is_told_after_the_rollback(self, world: World) -> None:
        deployed(world)
        world.cloudformation.steps = [
            (
                "UPDATE_ROLLBACK_IN_PROGRESS",
                [
                    event("Topic", "CREATE_FAILED", "Resource creation cancelled"),
                    event("Events", "UPDATE_FAILED", "Too many indexes"),
                    stack_event("UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to update: [Events]."),
                ],
            ),
            ("UPDATE_ROLLBACK_COMPLETE", [stack_event("UPDATE_ROLLBACK_COMPLETE")]),
        ]
        with pytest.raises(DeploymentError) as caught:
            deploy(world.context())
        assert caught.value.message == "the deployment failed at Events (AWS::DynamoDB::Table): Too many indexes"
        assert caught.value.faults == (
            "the stack is now UPDATE_ROLLBACK_COMPLETE",
            "1 more cancelled as a consequence",
        )
        assert caught.value.hint.startswith("The update was rolled back.")
        assert "esctl deploy" in caught.value.hint
        assert "UPDATE_ROLLBACK_COMPLETE" in world.said.splitlines()[-1]

    def test_a_rollback_that_fails_names_what_resolves_it(self, world: World) -> None:
        deployed(world)
        world.cloudformation.steps = [
            ("UPDATE_ROLLBACK_FAILED", [event("Role", "UPDATE_FAILED", "no"), stack_event("UPDATE_ROLLBACK_FAILED")])
        ]
        with pytest.raises(DeploymentError) as caught:
            deploy(world.context())
        assert "continue-update-rollback" in caught.value.hint

    def test_a_failed_creation_is_not_the_current_target(self, world: World) -> None:
        world.cloudformation.steps = [("ROLLBACK_COMPLETE", [event("Role", "CREATE_FAILED", "no")])]
        with pytest.raises(DeploymentError, match="failed at Role") as caught:
            deploy(world.context(yes=True))
        assert "next deployment removes its remains" in caught.value.hint
        assert Targets(world.context().state).current() is None


class TestInterrupted:
    def test_while_it_runs_it_continues_and_says_how_to_follow(self, world: World) -> None:
        world.cloudformation.interrupt_after = 0
        with pytest.raises(CliError, match="still creating shop") as caught:
            deploy(world.context(yes=True))
        assert caught.value.exit_code == ExitCode.INTERRUPTED
        assert "esctl deploy --region eu-central-1 --stack-name shop" in caught.value.hint
        assert world.cloudformation.executed == ["set-1"]
        assert world.cloudformation.deleted == []

    def test_the_next_call_attaches(self, world: World) -> None:
        world.cloudformation.interrupt_after = 0
        with pytest.raises(CliError):
            deploy(world.context(yes=True))
        world.cloudformation.interrupt_after = None
        unchanged(world)
        assert deploy(world.context())[0].action == "unchanged"
        assert "CREATE_COMPLETE" in world.said

    def test_before_the_execution_nothing_is_left(self, world: World) -> None:
        deployed(world)

        def interrupted(stack_id: str) -> dict[str, object]:
            raise KeyboardInterrupt

        world.cloudformation.template = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            deploy(world.context())
        assert world.cloudformation.open == set()

    def test_while_the_code_is_uploaded_nothing_is_left(self, world: World) -> None:
        deployed(world)

        def interrupted(key: str, path: Path) -> None:
            raise KeyboardInterrupt

        world.assets.put = interrupted  # type: ignore[method-assign]
        del world.assets.objects["c0de.zip"]
        with pytest.raises(KeyboardInterrupt):
            deploy(world.context())
        assert world.cloudformation.open == set()


class TestDiff:
    def test_a_new_stack_is_all_added_and_nothing_is_made(self, world: World) -> None:
        plan = diff(world.context(api_key=None))
        assert plan.action == "create"
        assert [(each.action, each.logical_id) for each in plan.changes] == [
            (Action.ADD, "Events"),
            (Action.ADD, "Role"),
        ]
        assert (world.cloudformation.requests, world.assets.prepared, world.cloudformation.found) == ([], False, None)

    def test_an_update_is_shown_and_the_change_set_dropped(self, world: World) -> None:
        deployed(world)
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        plan = diff(world.context())
        assert (plan.action, plan.changes, len(plan.permissions)) == ("update", CHANGED, 1)
        assert world.cloudformation.open == set()
        assert world.cloudformation.executed == ["set-1"]
        assert world.asked == 0

    def test_what_runs_is_in_the_way(self, world: World) -> None:
        world.cloudformation.found = stack("UPDATE_IN_PROGRESS")
        with pytest.raises(DeploymentError, match="UPDATE_IN_PROGRESS"):
            diff(world.context())
