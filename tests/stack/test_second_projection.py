"""A projection more in the registry is all that it takes."""

from __future__ import annotations

from tests.stack.synthesized import Synthesized


def test_projection_brings_queue_tables_functions_and_alarms(stack: Synthesized, extended: Synthesized) -> None:
    added = {name for name in set(extended.resources) - set(stack.resources) if "SeatMap" in name}
    assert added >= {
        "SeatMapQueue",
        "SeatMapDeadLetterQueue",
        "SeatMapState",
        "SeatMapRows",
        "ProjectorSeatMap",
        "ListSeatMap",
        "SeatMapDeadLettersAlarm",
        "SeatMapLagAlarm",
        "ProjectorSeatMapErrorsAlarm",
    }
    assert extended.routes()["GET /listSeatMap"][0] == "ListSeatMap"
    assert set(extended.document["Outputs"]) - set(stack.document["Outputs"]) == {
        "SeatMapStateTable",
        "SeatMapRowsTable",
        "SeatMapQueueUrl",
        "SeatMapDeadLetterQueueUrl",
    }


def test_projection_leaves_the_others_tables_and_queues_alone(stack: Synthesized, extended: Synthesized) -> None:
    for kind in ("AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::SNS::Subscription"):
        before, after = stack.of_type(kind), extended.of_type(kind)
        assert {name: after[name] for name in before} == before


def test_projection_of_every_stream_is_not_filtered(extended: Synthesized) -> None:
    subscriptions = extended.of_type("AWS::SNS::Subscription").values()
    (subscription,) = [each for each in subscriptions if each["Endpoint"] == {"Fn::GetAtt": ["SeatMapQueue", "Arn"]}]
    assert "FilterPolicy" not in subscription


def test_rows_are_keyed_as_the_projection_says(extended: Synthesized) -> None:
    schema = extended.properties("SeatMapRows")["KeySchema"]
    assert [each["AttributeName"] for each in schema] == ["streamGeneration", "seatId"]


def test_projector_sees_its_own_read_model_only(extended: Synthesized) -> None:
    assert extended.actions_on("ProjectorSeatMap", "SeatMapRows")
    assert not extended.actions_on("ProjectorSeatMap", "TestItemsRows")
    assert extended.environment_of("ProjectorSeatMap")["PROJECTION"] == "seat-map"


def test_functions_for_all_projections_reach_it(extended: Synthesized) -> None:
    for name in ("TriggerReplay", "Browse", "Recover", "ReplayWorker", "Reconciler"):
        assert extended.actions_on(name, "SeatMapState")
        assert '"seat-map":' in str(extended.environment_of(name)["PROJECTIONS"])
