"""How the functions are declared."""

from __future__ import annotations

import pytest

from tests.stack.synthesized import Synthesized

FUNCTIONS = {
    "AddEvent": ("add_event", "add-event"),
    "ListRows": ("list_rows", "list-rows"),
    "TriggerReplay": ("trigger_replay", "trigger-replay"),
    "Browse": ("browse", "browse"),
    "Recover": ("recover", "recover"),
    "Publisher": ("publisher", "publisher"),
    "ProjectorTestItems": ("projector", "projector-test-items"),
    "ReplayWorker": ("replay_worker", "replay-worker"),
    "Reconciler": ("reconciler", "reconciler"),
}


def test_functions_are_those_of_the_architecture(stack: Synthesized) -> None:
    assert set(stack.of_type("AWS::Lambda::Function")) == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_runs_its_module_on_python_313_arm64(stack: Synthesized, name: str) -> None:
    module, service = FUNCTIONS[name]
    stack.template.has_resource_properties(
        "AWS::Lambda::Function",
        {
            "Handler": f"handlers.functions.{module}.handler",
            "Runtime": "python3.13",
            "Architectures": ["arm64"],
            "LoggingConfig": {"LogGroup": {"Ref": f"{name}Logs"}},
            "Environment": {
                "Variables": {
                    "POWERTOOLS_SERVICE_NAME": service,
                    "POWERTOOLS_METRICS_NAMESPACE": {"Fn::Join": ["", ["esctl/", {"Ref": "AWS::StackName"}]]},
                }
            },
        },
    )


def test_functions_share_one_code_asset(stack: Synthesized) -> None:
    code = {str(each["Code"]) for each in stack.of_type("AWS::Lambda::Function").values()}
    assert len(code) == 1
    assert stack.info.asset.name.removeprefix("asset.") in code.pop()


def test_each_function_has_a_log_group_that_goes_with_the_stack(stack: Synthesized) -> None:
    groups = stack.of_type("AWS::Logs::LogGroup")
    assert set(groups) == {f"{name}Logs" for name in FUNCTIONS} | {"ApiAccessLogs"}
    assert {group["RetentionInDays"] for group in groups.values()} == {30}
    assert {stack.resources[name]["DeletionPolicy"] for name in groups} == {"Delete"}


def test_functions_behind_the_api_give_up_before_the_gateway_does(stack: Synthesized) -> None:
    behind = {function for function, _ in stack.routes().values()}
    assert all(stack.properties(name)["Timeout"] < 29 for name in behind)


def test_functions_trace_only_when_asked(stack: Synthesized, chosen: Synthesized) -> None:
    for name in FUNCTIONS:
        assert "TracingConfig" not in stack.properties(name)
        assert stack.environment_of(name)["TRACING"] == "false"
        assert chosen.properties(name)["TracingConfig"] == {"Mode": "Active"}
        assert chosen.environment_of(name)["TRACING"] == "true"


def test_strictness_reaches_the_function_that_reads_it(stack: Synthesized, chosen: Synthesized) -> None:
    assert stack.environment_of("AddEvent")["STRICT"] == "false"
    assert chosen.environment_of("AddEvent")["STRICT"] == "true"
    assert [name for name in FUNCTIONS if "STRICT" in stack.environment_of(name)] == ["AddEvent"]


READ_MODELS = {"STATES_TABLE": "States", "ROWS_TABLE": "Rows", "JOBS_TABLE": "Jobs"}


@pytest.mark.parametrize(
    ("name", "variables"),
    {
        "AddEvent": {"EVENTS_TABLE": "Events", "IDEMPOTENCY_TABLE": "Idempotency"},
        "ListRows": READ_MODELS,
        "TriggerReplay": {"EVENTS_TABLE": "Events", **READ_MODELS, "REPLAY_QUEUE_URL": "ReplayQueue"},
        "Browse": {"EVENTS_TABLE": "Events", **READ_MODELS},
        "Recover": {"EVENTS_TABLE": "Events", **READ_MODELS},
        "Publisher": {"TOPIC_ARN": "Topic"},
        "ProjectorTestItems": {"EVENTS_TABLE": "Events", **READ_MODELS},
        "ReplayWorker": {"EVENTS_TABLE": "Events", **READ_MODELS, "REPLAY_QUEUE_URL": "ReplayQueue"},
        "Reconciler": {"EVENTS_TABLE": "Events", **READ_MODELS, "REPLAY_QUEUE_URL": "ReplayQueue"},
    }.items(),
)
def test_function_is_told_where_its_things_are(stack: Synthesized, name: str, variables: dict[str, str]) -> None:
    environment = stack.environment_of(name)
    found = {key: value["Ref"] for key, value in environment.items() if isinstance(value, dict) and "Ref" in value}
    assert found == variables


def test_a_projector_knows_its_projection(stack: Synthesized) -> None:
    found = {name: stack.environment_of(name).get("PROJECTION") for name in FUNCTIONS}

    assert {name: value for name, value in found.items() if value} == {"ProjectorTestItems": "test-items"}


@pytest.mark.parametrize(
    ("name", "queue"),
    {
        "ProjectorTestItems": "TestItemsQueue",
        "Recover": "ReplayQueue",
        "Browse": "ReplayQueue",
        "Reconciler": "ReplayQueue",
    }.items(),
)
def test_functions_make_the_urls_of_all_queues_from_that_of_one(stack: Synthesized, name: str, queue: str) -> None:
    pattern = stack.environment_of(name)["PROJECTION_QUEUES"]
    assert pattern == {"Fn::Join": ["/*Queue-", {"Fn::Split": [f"/{queue}-", {"Ref": queue}]}]}


def test_all_fifo_queues_have_the_same_end_of_the_name(extended: Synthesized) -> None:
    names = {
        logical_id: queue["QueueName"]["Fn::Join"][1]
        for logical_id, queue in extended.of_type("AWS::SQS::Queue").items()
        if "FifoQueue" in queue
    }
    assert {logical_id: name[0] for logical_id, name in names.items()} == {each: f"{each}-" for each in names}
    assert len({str(name[1:]) for name in names.values()}) == 1
