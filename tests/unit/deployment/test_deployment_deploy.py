"""Deploying over a scripted account: what is asked, done, said and left behind."""

import json

import pytest

from cli.deployment.deploy import deploy, diff
from cli.deployment.model import Action, Change
from cli.deployment.ports import BucketState
from cli.errors import AccessError, CliError, DeploymentError, ExitCode, SettingError, UsageError
from cli.targets import Targets
from tests.unit.deployment.fakes import (
    AWS,
    KEY,
    LOCAL,
    STACK_ID,
    TEMPLATE,
    World,
    event,
    stack,
    stack_event,
)

NO_CHANGES = "The submitted information didn't contain changes. Submit different information to create a change set."
CHANGED = (Change(Action.CHANGE, "Role", "AWS::IAM::Role", ("Policies",)),)
REPLACED = (Change(Action.REPLACE, "Events", "AWS::DynamoDB::Table", ("KeySchema",)),)


def with_policy(*actions: str) -> dict[str, object]:
    statements = [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}]
    role = {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": {"Statement": statements}}]}}
    return {**TEMPLATE, "Resources": {**TEMPLATE["Resources"], "Role": role}}


def deployed(world: World) -> None:
    """A stack that was deployed from here with the sources as they are."""
    deploy(world.job(yes=True))
    world.reporter.said.clear()
    world.reporter.planned.clear()
    world.change_sets.pending = 1


class TestCreating:
    def test_it_publishes_executes_follows_and_remembers(self, world: World) -> None:
        result = deploy(world.job(yes=True))

        assert result.action == "created"
        assert world.assets.prepared == ["esctl-assets-123456789012-eu-central-1"]
        assert world.assets.uploads == ["c0de.zip"]
        assert world.change_sets.executed == ["set-1"]
        assert [each.status for each in world.reporter.shown] == ["CREATE_IN_PROGRESS", "CREATE_COMPLETE"]
        current = Targets(world.job().state).current()
        assert current is not None
        assert (current.record, dict(current.outputs)) == (AWS.record, dict(stack().outputs))

    def test_on_aws_it_asks_once(self, world: World) -> None:
        world.reporter.answer = True
        deploy(world.job())
        assert len(world.reporter.asked) == 1
        assert "account 123456789012, region eu-central-1" in world.reporter.asked[0]

    def test_declined_nothing_is_left(self, world: World) -> None:
        world.reporter.answer = False
        with pytest.raises(CliError, match="nothing was changed"):
            deploy(world.job())
        assert (world.change_sets.requests, world.assets.prepared, world.stacks.found) == ([], [], None)

    def test_without_a_terminal_it_wants_yes(self, world: World) -> None:
        with pytest.raises(UsageError):
            deploy(world.job())
        assert world.change_sets.requests == []

    def test_on_the_local_target_it_does_not_ask(self, world: World) -> None:
        assert deploy(world.job(LOCAL)).action == "created"
        assert world.reporter.asked == []

    def test_the_key_is_a_parameter_and_nowhere_else(self, world: World) -> None:
        deploy(world.job(yes=True))
        request = world.change_sets.requests[0]
        assert [(each.name, each.value) for each in request.parameters] == [("ApiKey", KEY)]
        assert KEY not in repr(request)
        assert KEY not in repr(world.job())
        texts = [path.read_bytes() for path in world.folder.rglob("*") if path.is_file()]
        assert not any(KEY.encode() in text for text in texts)

    def test_a_refused_change_set_leaves_no_empty_stack(self, world: World) -> None:
        world.change_sets.status, world.change_sets.reason = "FAILED", "Unresolved resource dependencies"
        with pytest.raises(DeploymentError, match="Unresolved"):
            deploy(world.job(yes=True))
        assert world.change_sets.open == set()
        assert world.stacks.deleted == [STACK_ID]

    def test_an_asset_that_is_not_there_stops_it_before_the_execution(self, world: World) -> None:
        world.assets.loses = True
        with pytest.raises(DeploymentError, match=r"c0de\.zip can't be used: it is not there"):
            deploy(world.job(yes=True))
        assert world.change_sets.executed == []
        assert world.change_sets.open == set()
        assert world.stacks.deleted == [STACK_ID]

    def test_an_execution_that_is_refused_leaves_nothing(self, world: World) -> None:
        def refused(change_set_id: str, token: str) -> None:
            raise CliError("somebody else was quicker")

        world.change_sets.execute = refused  # type: ignore[method-assign]
        with pytest.raises(CliError, match="quicker"):
            deploy(world.job(yes=True))
        assert world.change_sets.open == set()

    def test_a_bucket_of_somebody_else_is_refused(self, world: World) -> None:
        world.assets.bucket = BucketState.FOREIGN
        with pytest.raises(AccessError, match="belongs to another account"):
            deploy(world.job(yes=True))

    def test_a_large_template_goes_through_the_bucket(self, world: World) -> None:
        resources = {f"T{number}": {"Type": "AWS::SNS::Topic", "Metadata": "x" * 500} for number in range(120)}
        world.template = {**TEMPLATE, "Resources": {**TEMPLATE["Resources"], **resources}}
        deploy(world.job(yes=True))
        request = world.change_sets.requests[0]
        assert request.template_body is None
        assert request.template_url == "https://esctl-assets-123456789012-eu-central-1/7emplate.json"
        assert "7emplate.json" in world.assets.uploads


class TestUnchanged:
    def test_it_says_so_without_synthesis_or_change_set(self, world: World) -> None:
        deployed(world)
        assert deploy(world.job()).action == "unchanged"
        assert (world.syntheses, len(world.change_sets.requests)) == (1, 1)

    def test_when_somebody_deployed_meanwhile_it_looks(self, world: World) -> None:
        deployed(world)
        world.stacks.found = stack(changed_at="2026-11-23T13:00:00+00:00")
        deploy(world.job())
        assert len(world.change_sets.requests) == 2
        assert world.syntheses == 1

    def test_an_empty_change_set_is_dropped(self, world: World) -> None:
        deployed(world)
        world.sources = "sources-2"
        world.change_sets.status, world.change_sets.reason = "FAILED", NO_CHANGES
        assert deploy(world.job()).action == "unchanged"
        assert world.change_sets.open == set()
        world.change_sets.requests.clear()
        assert deploy(world.job()).action == "unchanged"
        assert world.change_sets.requests == []

    def test_another_setting_is_a_change(self, world: World) -> None:
        deployed(world)
        assert deploy(world.job(tracing=True)).action == "updated"
        assert world.syntheses == 2

    def test_back_to_earlier_settings_the_assembly_is_still_there(self, world: World) -> None:
        deployed(world)
        deploy(world.job(tracing=True))
        deploy(world.job())
        assert world.syntheses == 2

    def test_a_stack_rolled_back_meanwhile_is_not_unchanged(self, world: World) -> None:
        deployed(world)
        world.stacks.found = stack("UPDATE_ROLLBACK_COMPLETE")
        assert deploy(world.job()).action == "updated"


class TestTheKeyOfAnUpdate:
    def test_the_same_one_is_not_sent_again(self, world: World) -> None:
        deployed(world)
        world.sources = "sources-2"
        deploy(world.job())
        assert world.change_sets.requests[-1].parameters[0].value is None

    def test_an_unknown_one_stays_as_it_is(self, world: World) -> None:
        deployed(world)
        world.sources = "sources-2"
        deploy(world.job(api_key=None))
        assert world.change_sets.requests[-1].parameters[0].value is None

    def test_another_one_is_sent(self, world: World) -> None:
        deployed(world)
        deploy(world.job(api_key="another-key-of-24-letters"))
        assert world.change_sets.requests[-1].parameters[0].value == "another-key-of-24-letters"

    def test_a_new_stack_on_aws_needs_one(self, world: World) -> None:
        with pytest.raises(SettingError, match="API_KEY is missing"):
            deploy(world.job(api_key=None, yes=True))

    @pytest.mark.parametrize(
        "key", ["too-short", "x" * 129, "twenty characters and a space", "ключ-ключ-ключ-ключ-ключ"]
    )
    def test_a_wrong_form_is_refused_before_anything(self, world: World, key: str) -> None:
        with pytest.raises(SettingError) as caught:
            deploy(world.job(api_key=key, yes=True))
        assert key not in caught.value.message
        assert world.change_sets.requests == []

    def test_the_local_target_makes_one_up_and_keeps_it(self, world: World) -> None:
        deploy(world.job(LOCAL, api_key=None))
        first = world.change_sets.requests[-1].parameters[0].value
        assert first is not None
        assert len(first) >= 20
        world.sources = "sources-2"
        deploy(world.job(LOCAL, api_key=None))
        assert world.change_sets.requests[-1].parameters[0].value is None
        kept = world.folder / "keys" / LOCAL.record
        assert (kept.read_text().strip(), kept.stat().st_mode & 0o777) == (first, 0o600)


class TestConsent:
    def test_a_widening_is_shown_and_asked_for(self, world: World) -> None:
        deployed(world)
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        world.reporter.answer = True
        assert deploy(world.job()).action == "updated"
        assert [str(each) for each in world.reporter.planned[0][1]] == ["Role may s3:GetObject on *"]
        assert "permits 1 thing more" in world.reporter.asked[0]

    @pytest.mark.parametrize(("answer", "error"), [(False, CliError), (None, UsageError)])
    def test_declined_or_unanswered_the_change_set_is_dropped(
        self, world: World, answer: bool | None, error: type[CliError]
    ) -> None:
        deployed(world)
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        world.reporter.answer = answer
        with pytest.raises(error):
            deploy(world.job())
        assert world.change_sets.open == set()
        assert world.change_sets.executed == ["set-1"]

    def test_yes_consents(self, world: World) -> None:
        deployed(world)
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        assert deploy(world.job(yes=True)).action == "updated"
        assert world.reporter.asked == []

    def test_fewer_permissions_need_none(self, world: World) -> None:
        deployed(world)
        world.stacks.deployed = with_policy("s3:GetObject")
        world.sources = "sources-2"
        assert deploy(world.job()).action == "updated"
        assert world.reporter.asked == []

    def test_on_the_local_target_widenings_are_shown_not_asked_for(self, world: World) -> None:
        deploy(world.job(LOCAL))
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        deploy(world.job(LOCAL))
        assert len(world.reporter.planned[0][1]) == 1
        assert world.reporter.asked == []

    def test_replacing_a_table_is_asked_for_on_every_target(self, world: World) -> None:
        deploy(world.job(LOCAL))
        world.sources, world.change_sets.changes = "sources-2", REPLACED
        world.reporter.answer = False
        with pytest.raises(CliError):
            deploy(world.job(LOCAL))
        assert "Events: what is in it is lost" in world.reporter.asked[0]

    def test_the_emulator_would_overwrite_kept_events_so_it_asks(self, world: World) -> None:
        job = world.job(LOCAL)
        job.records.destroyed(LOCAL, ["shop-Events-1"])
        world.tables.tables = {"shop-Events-1": True}
        world.reporter.answer = False
        with pytest.raises(CliError, match="nothing was changed"):
            deploy(job)
        assert world.change_sets.requests == []

    def test_kept_but_empty_tables_are_no_question(self, world: World) -> None:
        job = world.job(LOCAL)
        job.records.destroyed(LOCAL, ["shop-Events-1"])
        world.tables.tables = {"shop-Events-1": False}
        assert deploy(job).action == "created"


class TestStuckStates:
    def test_update_rollback_failed_names_the_command_that_mends_it(self, world: World) -> None:
        world.stacks.found = stack("UPDATE_ROLLBACK_FAILED", reason="Role is in use")
        with pytest.raises(DeploymentError, match="Role is in use") as caught:
            deploy(world.job(yes=True))
        assert "continue-update-rollback --stack-name shop --region eu-central-1" in caught.value.hint

    def test_delete_failed_names_destroy(self, world: World) -> None:
        world.stacks.found = stack("DELETE_FAILED")
        with pytest.raises(DeploymentError) as caught:
            deploy(world.job(yes=True))
        assert "esctl destroy --region eu-central-1 --stack-name shop" in caught.value.hint

    @pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED"])
    def test_a_failed_creation_is_deleted_with_consent_and_made_anew(self, world: World, status: str) -> None:
        world.stacks.found = stack(status)
        world.stacks.steps = [
            ("DELETE_COMPLETE", [event("Events", "DELETE_SKIPPED"), stack_event("DELETE_COMPLETE")]),
            ("CREATE_COMPLETE", [stack_event("CREATE_COMPLETE")]),
        ]
        world.reporter.answer = True
        assert deploy(world.job()).action == "created"
        assert world.reporter.asked == ["Delete it and make it anew?"]
        assert any("left behind" in line and "Events-1" in line for line in world.reporter.said)
        assert world.change_sets.requests[0].creating

    def test_a_failed_creation_stays_when_declined(self, world: World) -> None:
        world.stacks.found = stack("ROLLBACK_COMPLETE")
        world.reporter.answer = False
        with pytest.raises(CliError, match="nothing was changed"):
            deploy(world.job())
        assert world.stacks.deleted == []

    def test_a_name_in_review_is_taken_over(self, world: World) -> None:
        world.stacks.found = stack("REVIEW_IN_PROGRESS", tags={}, outputs={}, parameters=())
        assert deploy(world.job(yes=True)).action == "created"

    def test_what_runs_is_followed_first(self, world: World) -> None:
        world.stacks.found = stack("UPDATE_IN_PROGRESS")
        world.stacks.history = [stack_event("UPDATE_IN_PROGRESS"), event("Role", "UPDATE_IN_PROGRESS")]
        world.stacks.steps = [
            ("UPDATE_IN_PROGRESS", [event("Role", "UPDATE_COMPLETE")]),
            ("UPDATE_COMPLETE", [stack_event("UPDATE_COMPLETE")]),
        ]
        world.change_sets.status, world.change_sets.reason = "FAILED", NO_CHANGES
        assert deploy(world.job()).action == "unchanged"
        assert [each.status for each in world.reporter.shown if not each.is_stack] == [
            "UPDATE_IN_PROGRESS",
            "UPDATE_COMPLETE",
        ]

    def test_a_stack_that_is_not_ours_is_left_alone(self, world: World) -> None:
        world.stacks.found = stack(tags={}, outputs={"BucketName": "x"})
        with pytest.raises(DeploymentError, match="not made by esctl"):
            deploy(world.job(yes=True))

    def test_a_stack_of_cdk_deploy_is_ours(self, world: World) -> None:
        world.stacks.found = stack(tags={})
        assert deploy(world.job(yes=True)).action == "updated"


class TestFailing:
    def test_the_first_cause_is_told_after_the_roll_back(self, world: World) -> None:
        deployed(world)
        world.sources = "sources-2"
        world.stacks.steps = [
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
            deploy(world.job())
        assert caught.value.message == ("the deployment failed at Events (AWS::DynamoDB::Table): Too many indexes")
        assert caught.value.faults == (
            "the stack is now UPDATE_ROLLBACK_COMPLETE",
            "cancelled because of it: 1 more",
        )
        assert "esctl deploy" in caught.value.hint
        assert world.reporter.shown[-1].status == "UPDATE_ROLLBACK_COMPLETE"

    def test_a_roll_back_that_fails_names_what_mends_it(self, world: World) -> None:
        deployed(world)
        world.sources = "sources-2"
        world.stacks.steps = [
            ("UPDATE_ROLLBACK_FAILED", [event("Role", "UPDATE_FAILED", "no"), stack_event("UPDATE_ROLLBACK_FAILED")])
        ]
        with pytest.raises(DeploymentError) as caught:
            deploy(world.job())
        assert "continue-update-rollback" in caught.value.hint

    def test_a_failed_deployment_is_not_remembered_as_done(self, world: World) -> None:
        deployed(world)
        before = world.job().records.of(AWS)
        world.sources = "sources-2"
        world.stacks.steps = [("UPDATE_ROLLBACK_COMPLETE", [event("Role", "UPDATE_FAILED", "no")])]
        with pytest.raises(DeploymentError):
            deploy(world.job())
        assert world.job().records.of(AWS) == before


class TestInterrupted:
    def test_while_it_runs_it_goes_on_and_says_how_to_follow(self, world: World) -> None:
        world.stacks.interrupt_after = 0
        with pytest.raises(CliError, match="goes on without you") as caught:
            deploy(world.job(yes=True))
        assert caught.value.exit_code == ExitCode.INTERRUPTED
        assert "esctl deploy --region eu-central-1 --stack-name shop" in caught.value.hint
        assert world.change_sets.executed == ["set-1"]
        assert world.stacks.deleted == []

    def test_the_next_call_attaches(self, world: World) -> None:
        world.stacks.interrupt_after = 0
        with pytest.raises(CliError):
            deploy(world.job(yes=True))
        world.stacks.interrupt_after = None
        world.change_sets.status, world.change_sets.reason = "FAILED", NO_CHANGES
        assert deploy(world.job()).action == "unchanged"
        assert world.reporter.shown[-1].status == "CREATE_COMPLETE"

    def test_before_the_execution_nothing_is_left(self, world: World) -> None:
        deployed(world)
        world.sources = "sources-2"
        job = world.job()

        def interrupted(changes: object, widenings: object) -> None:
            raise KeyboardInterrupt

        world.reporter.plan = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            deploy(job)
        assert world.change_sets.open == set()


class TestDiff:
    def test_a_new_stack_is_all_added_and_nothing_is_made(self, world: World) -> None:
        result = diff(world.job(api_key=None))
        assert result.action == "create"
        assert [(each.action, each.logical_id) for each in result.changes] == [
            (Action.ADD, "Events"),
            (Action.ADD, "Role"),
        ]
        assert (world.change_sets.requests, world.assets.prepared, world.stacks.found) == ([], [], None)

    def test_an_update_is_shown_and_the_change_set_dropped(self, world: World) -> None:
        deployed(world)
        world.sources, world.template = "sources-2", with_policy("s3:GetObject")
        result = diff(world.job())
        assert (result.action, result.changes, len(result.widenings)) == ("update", CHANGED, 1)
        assert world.change_sets.open == set()
        assert world.change_sets.executed == ["set-1"]
        assert world.reporter.asked == []

    def test_what_runs_is_in_the_way(self, world: World) -> None:
        world.stacks.found = stack("UPDATE_IN_PROGRESS")
        with pytest.raises(DeploymentError, match="UPDATE_IN_PROGRESS"):
            diff(world.job())


def test_what_follows_a_deployment_gets_the_target_with_its_outputs(world: World) -> None:
    seen = []
    job = world.job(yes=True)
    object.__setattr__(job, "after", (lambda target: seen.append(target.outputs["EventsTable"]),))
    deploy(job)
    deploy(job)
    assert seen == ["shop-Events-1", "shop-Events-1"]


def test_an_interrupted_synthesis_leaves_no_assembly(world: World) -> None:
    job = world.job()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    object.__setattr__(job.assemblies, "_synthesize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        diff(job)
    assert list((world.folder / "assemblies").iterdir()) == []


def test_the_templates_sent_is_the_one_synthesized(world: World) -> None:
    deploy(world.job(yes=True))
    assert json.loads(world.change_sets.requests[0].template_body or "") == TEMPLATE
    assert dict(world.change_sets.requests[0].tags) == {"application": "esctl"}
