"""The commands about projections over many streams: orders with a row each, and revenue per customer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from cli.commands import list_items
from cli.commands.doctor import auditor
from cli.errors import ExitCode
from cli.operate.doctor import Finding, Verdict, contiguity, read_models
from cli.replay import history, run
from cli.shell.session import Session
from cli.terminal.output import Output
from handlers.core.events import NewEvent, StreamId
from handlers.core.lossless_json import dumps
from handlers.projection import Projection
from tests.unit.cli.cli_driver import Clock, Esctl
from tests.unit.cli.many_streams import installed
from tests.unit.cli.served_api import ServedApi, served
from tests.unit.cli.test_cli_replay import ActingClock, tamper


@pytest.fixture
def api(esctl: Esctl) -> Iterator[ServedApi]:
    """A deployed stack; whenever a command waits, the replay worker works."""
    with installed(), served(esctl) as api:
        esctl.clock = ActingClock(lambda: api.model.work())
        yield api


def placed(api: ServedApi, number: int, *, customer: str = "c-1", total: int = 10, paid: bool = False) -> None:
    """Append the events of an order, and project them."""
    events = [("ORDER_PLACED", {"customerId": customer, "total": total})]
    api.model.given(*events, *([("ORDER_PAID", {})] if paid else []), stream_id=f"order-{number}")


def order_ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["orderId"] for row in rows]


def asked(api: ServedApi) -> list[str]:
    return [route for route, _ in api.calls]


# -- list ----------------------------------------------------------------------------------------------------------------


def test_all_rows_are_listed_whatever_their_stream(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 2, total=7)
    placed(api, 1, total=25, paid=True)

    rows = esctl("list", "orders", "-o", "json").json["rows"]
    text = esctl("list", "orders")

    assert order_ids(rows) == ["order-1", "order-2"]
    assert list(rows[0]) == ["orderId", "status", "placedAt", "customerId", "total"]
    assert text.lines[0].split() == ["orderId", "status", "placedAt", "customerId", "total"]
    assert text.lines[1].endswith("c-1            25")
    assert "2 rows" in text.stderr
    assert "checkpoint" not in text.stderr


def test_a_key_selects_one_row(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    placed(api, 2)

    assert order_ids(esctl("list", "orders", "order-2", "-o", "json").json["rows"]) == ["order-2"]
    missing = esctl("list", "orders", "order-3")
    assert missing.exit_code == ExitCode.NOT_FOUND
    assert "order-3" in missing.stderr


def test_an_index_selects_rows_in_the_order_of_its_sort_attribute(esctl: Esctl, api: ServedApi) -> None:
    for number, paid in ((3, True), (1, True), (2, False), (4, True)):
        placed(api, number, paid=paid)

    def listed(*arguments: str) -> list[str]:
        return order_ids(esctl("list", "orders", *arguments, "-o", "json").json["rows"])

    assert listed("--by", "status=paid") == ["order-3", "order-1", "order-4"]
    assert listed("--by", "status=paid", "--newest", "--limit", "2") == ["order-4", "order-1"]
    assert listed("--by", "status=lost") == []
    assert listed("--prefix", "order-1") == ["order-1"]
    assert listed("--from", "order-2", "--to", "order-3") == ["order-2", "order-3"]
    assert listed("--newest", "--limit", "1") == ["order-4"]


def test_numbers_of_an_index_are_bounds_in_numeric_order(esctl: Esctl, api: ServedApi) -> None:
    for number, total in ((1, 9), (2, 10), (3, 100)):
        placed(api, number, total=total)

    rows = esctl("list", "orders", "--by", "customerId=c-1", "--from", "10", "--to", "99", "-o", "json").json["rows"]

    assert order_ids(rows) == ["order-2"]


def test_more_rows_than_a_page_of_an_index_are_read(esctl: Esctl, api: ServedApi) -> None:
    for number in range(201):
        placed(api, number)

    result = esctl("list", "orders", "--by", "status=placed", "-o", "json")

    assert len(result.json["rows"]) == 201
    assert api.called("GET /projections/{name}/rows") == 3
    limited = esctl("list", "orders", "--limit", "150")
    assert len(limited.lines) == 1 + 150
    assert "there are more" in limited.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing"], ExitCode.NOT_FOUND, "orders"),
        (["orders", "--by", "colour=red"], ExitCode.FAILED, "status, customerId"),
        (["orders", "--by", "colour=red", "--as-of", "2026-11-24"], ExitCode.NOT_FOUND, "status, customerId"),
        (["orders", "--by", "status"], ExitCode.USAGE, "status=paid"),
        (["orders", "order-1", "--newest"], ExitCode.USAGE, "one row"),
        (["orders", "--prefix", "a", "--from", "b"], ExitCode.USAGE, "--from"),
        (["orders", "--after", "order-1"], ExitCode.USAGE, "order-7:3"),
        (["orders", "--as-of", "3"], ExitCode.USAGE, "must be a time"),
        (["orders", "--as-of", "2026-11-24", "--after", "order-1:0"], ExitCode.USAGE, "--after"),
        (["orders", "--full"], ExitCode.USAGE, "--as-of"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(
    esctl: Esctl, api: ServedApi, arguments: list[str], code: ExitCode, said: str
) -> None:
    placed(api, 1)

    result = esctl("list", *arguments)

    assert result.exit_code == code
    assert said in result.stderr


def test_after_an_event_the_rows_have_it(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    api.model.store.append([NewEvent(StreamId("order-1"), "ORDER_PAID", "{}")])

    behind = esctl("list", "orders", "--after", "order-1:1")
    api.model.project("order-1")
    applied = esctl("list", "orders", "order-1", "--after", "order-1:1", "-o", "json")

    assert behind.exit_code == ExitCode.TIMED_OUT
    assert "the checkpoint of its stream is 0" in behind.stderr
    assert applied.json["rows"][0]["status"] == "paid"


def test_waiting_for_an_event_of_a_halted_stream_says_so(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    api.model.given(("ORDER_BROKEN", {}), stream_id="order-1")

    result = esctl("list", "orders", "--after", "order-1:1")

    assert result.exit_code == ExitCode.DEGRADED
    assert "halted at event 1: RuntimeError" in result.stderr
    assert "esctl projections resume orders --stream-id order-1" in result.stderr


def test_watch_shows_changes_of_any_stream(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 2:
            placed(api, 2)
        if len(looks) == 4:
            raise KeyboardInterrupt

    esctl.clock = ActingClock(look)

    assert [line.count("orderId") for line in esctl("list", "orders", "--watch", "-o", "json").lines] == [1, 2]


def test_columns_come_from_the_rows() -> None:
    columns, cells = list_items.table_of([{"id": "1", "n": 3, "tags": ["a"]}, {"id": "2", "n": None, "late": True}])

    assert [(each.title, each.align) for each in columns] == [
        ("id", "left"),
        ("n", "left"),
        ("tags", "left"),
        ("late", "left"),
    ]
    assert cells == [["1", 3, '["a"]', ""], ["2", "null", "", "true"]]


# -- as of ---------------------------------------------------------------------------------------------------------------


def times(api: ServedApi, stream_id: str) -> list[str]:
    return [event.time_stamp for event in api.model.store.read(StreamId(stream_id)).events]


def test_as_of_a_time_is_the_state_of_all_streams_at_that_time(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1, paid=True)
    placed(api, 2)
    then, paid_at = times(api, "order-1")

    def listed(time: str, *arguments: str) -> list[tuple[str, str]]:
        rows = esctl("list", "orders", "--as-of", time, *arguments, "-o", "json").json["rows"]
        return [(row["orderId"], row["status"]) for row in rows]

    assert listed("2020-01-01") == []
    assert listed(then) == [("order-1", "placed" if then != paid_at else "paid")]
    assert listed("2030-01-01") == [("order-1", "paid"), ("order-2", "placed")]
    assert listed("2030-01-01", "--by", "status=placed") == [("order-2", "placed")]
    assert listed("2030-01-01", "--newest", "--limit", "1") == [("order-2", "placed")]
    assert not [route for route in asked(api) if "rows" in route]


def test_as_of_gives_the_rows_that_the_read_model_has(esctl: Esctl, api: ServedApi) -> None:
    for number in range(40):
        placed(api, number, customer=f"c-{number % 3}", total=number, paid=number % 2 == 0)

    queries = [
        ["orders"],
        ["orders", "order-7"],
        ["orders", "--by", "status=paid", "--newest"],
        ["orders", "--by", "customerId=c-1", "--from", "10", "--to", "19"],
        ["orders", "--prefix", "order-3"],
        ["orders", "--from", "order-20", "--to", "order-29", "--newest"],
        ["revenue"],
    ]

    for query in queries:
        stored = esctl("list", *query, "-o", "json").json
        assert esctl("list", *query, "--as-of", "2030-01-01", "-o", "json").json == stored


def test_as_of_leaves_out_what_a_halted_stream_never_had(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    api.model.given(("ORDER_BROKEN", {}), ("ORDER_PAID", {}), stream_id="order-1")

    result = esctl("list", "orders", "--as-of", "2030-01-01")

    assert "placed" in result.stdout
    assert "order-1 is halted at event 1" in result.stderr


def test_events_of_several_streams_are_folded_in_the_order_of_time() -> None:
    def event(stream_id: str, event_id: int, second: int) -> Any:
        time = f"2026-11-23T10:15:{second:02}.000Z"
        return history._event({"streamId": stream_id, "eventId": event_id, "type": "T", "data": {}, "timeStamp": time})

    # The clock of stream a went back: its own order counts.
    a = [event("a", 0, 20), event("a", 1, 10), event("a", 2, 40)]
    b = [event("b", 0, 5), event("b", 1, 30)]

    ordered = history.in_time_order([a, b])

    assert [(each.stream_id, each.event_id) for each in ordered] == [("b", 0), ("a", 0), ("a", 1), ("b", 1), ("a", 2)]


# -- replay --------------------------------------------------------------------------------------------------------------


def test_a_replay_names_its_projection_in_what_follows(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    placed(api, 2, paid=True)
    tamper(api, "order-1", {"status": "lost"}, "orders")

    result = esctl("replay", "--projection", "orders")

    assert result.exit_code == 0
    assert "rows that differ  1" in result.stdout
    assert "esctl replay --projection orders --rollback" in result.stderr
    assert esctl("list", "orders", "order-1", "-o", "json").json["rows"][0]["status"] == "placed"


def test_the_differences_of_a_replay_name_the_keys(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1, total=3)
    tamper(api, "c-1", {"orders": 7, "total": 7}, "revenue")

    document = esctl("replay", "--projection", "revenue", "-o", "json").json

    before, after = {"orders": 7, "total": 7}, {"orders": 1, "total": 3}
    assert document["differences"] == [{"customerId": "c-1", "before": before, "after": after}]


def test_rows_are_not_compared_if_there_are_too_many(
    esctl: Esctl, api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "ROWS_COMPARED_MAX", 1)
    placed(api, 1)
    placed(api, 2)

    result = esctl("replay", "--projection", "orders")

    assert result.exit_code == 0
    assert "rows before" not in result.stdout
    assert "were not compared" in result.stderr


def test_history_and_progress_agree(esctl: Esctl, api: ServedApi) -> None:
    for number in range(30):
        placed(api, number, paid=True)

    done = esctl("replay", "--projection", "orders", "-o", "json").json
    [listed] = esctl("replays", "-o", "json").json["replays"]
    shown = esctl("replays").lines[1].split()

    assert (done["eventsDone"], done["events"]) == (60, 60)
    assert {name: listed[name] for name in ("eventsDone", "events", "segments", "state")} == {
        name: done[name] for name in ("eventsDone", "events", "segments", "state")
    }
    assert done["segments"]["done"] == done["segments"]["total"]
    assert "60" in shown


def test_a_running_replay_is_cancelled(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    started = esctl("replay", "--projection", "orders", "--no-wait", "-o", "json").json

    cancelled = esctl("replay", "--projection", "orders", "--cancel", "-o", "json").json
    again = esctl("replay", "--projection", "orders", "--cancel")
    by_id = esctl("replay", "--cancel", started["replayId"])

    assert (cancelled["replayId"], cancelled["state"]) == (started["replayId"], "cancelled")
    assert again.exit_code == ExitCode.NOT_FOUND
    assert by_id.exit_code == ExitCode.CONFLICT
    assert len(esctl("list", "orders", "-o", "json").json["rows"]) == 1


def test_a_followed_replay_that_is_cancelled_elsewhere_is_an_error(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    esctl.clock = ActingClock(lambda: api.model.replays("orders").cancel("replay-1"))

    result = esctl("replay", "--projection", "orders")

    assert result.exit_code == ExitCode.FAILED
    assert "the replay of orders was cancelled" in result.stderr


def test_one_stream_is_replayed_in_place_if_its_rows_are_its_own(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    placed(api, 2)
    tamper(api, "order-1", {"status": "lost"}, "orders")

    result = esctl("replay", "--projection", "orders", "--stream-id", "order-1", "-o", "json")
    shared = esctl("replay", "--projection", "revenue", "--stream-id", "order-1")

    assert (result.json["kind"], result.json["state"]) == ("stream", "done")
    assert esctl("list", "orders", "order-1", "-o", "json").json["rows"][0]["status"] == "placed"
    assert shared.exit_code == ExitCode.FAILED
    assert "replay the whole projection" in shared.stderr


def test_a_failed_replay_names_stream_and_event(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    api.model.store.append([NewEvent(StreamId("order-1"), "ORDER_BROKEN", "{}")])

    result = esctl("replay", "--projection", "orders")

    assert result.exit_code == ExitCode.FAILED
    assert "event 1 of stream order-1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cancel", "--rollback"], "can't be combined"),
        (["--cancel", "--dry-run"], "can't be combined"),
        (["--dry-run", "--stream-id", "order-1"], "can't be combined"),
        (["--full"], "--dry-run"),
        (["replay-1"], "--cancel"),
    ],
)
def test_contradicting_options_are_refused(esctl: Esctl, api: ServedApi, arguments: list[str], said: str) -> None:
    result = esctl("replay", *arguments)

    assert result.exit_code == ExitCode.USAGE
    assert said in result.stderr


# -- dry run -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "key"), [("orders", "order-1"), ("revenue", "c-1")])
def test_a_dry_run_compares_the_rows_of_all_streams(esctl: Esctl, api: ServedApi, name: str, key: str) -> None:
    for number in range(1, 40):
        placed(api, number, customer=f"c-{number % 3}")
    well = esctl("replay", "--projection", name, "--dry-run", "-o", "json")
    tamper(api, key, None, name)
    tamper(api, "stray", {"total": 1}, name)

    result = esctl("replay", "--projection", name, "--dry-run", "-o", "json")

    assert (well.exit_code, well.json["rowsDiffering"], well.json["streamsFolded"]) == (0, 0, 39)
    assert result.exit_code == ExitCode.DEGRADED
    assert [key, "stray"] == [next(iter(each.values())) for each in result.json["differences"]]
    assert result.json["differences"][0]["is"] is None
    assert result.json["differences"][1]["shouldBe"] is None
    assert result.json["settled"] is True
    assert f"esctl replay --projection {name}" in result.stderr
    assert not [route for route in asked(api) if route.startswith("POST")]


@pytest.mark.parametrize("name", ["orders", "revenue"])
def test_a_dry_run_does_not_count_events_that_are_not_applied_yet(esctl: Esctl, api: ServedApi, name: str) -> None:
    placed(api, 1)
    data = dumps({"customerId": "c-1", "total": 5})
    api.model.store.append([NewEvent(StreamId("order-2"), "ORDER_PLACED", data)])
    api.model.store.append([NewEvent(StreamId("order-1"), "ORDER_PAID", "{}")])

    assert esctl("replay", "--projection", name, "--dry-run").exit_code == 0


def test_a_dry_run_finds_streams_that_are_listed_late(
    esctl: Esctl, api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed(api, 1)
    listed = api.model.store.streams()
    placed(api, 2)
    streams, lists = api.model.store.streams, [listed]
    monkeypatch.setattr(api.model.store, "streams", lambda **kw: lists.pop() if lists else streams(**kw))

    result = esctl("replay", "--projection", "orders", "--dry-run", "-o", "json")

    assert (result.exit_code, result.json["streamsFolded"]) == (0, 2)


def test_a_dry_run_compares_a_halted_stream_at_its_checkpoint(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    api.model.given(("ORDER_BROKEN", {}), stream_id="order-1")

    result = esctl("replay", "--projection", "orders", "--dry-run")

    assert result.exit_code == 0
    assert "stream order-1 is halted at event 1" in result.stderr
    assert "up to the events that halt it" in result.stderr


def test_a_dry_run_leaves_out_skipped_events(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    api.model.given(("ORDER_BROKEN", {}), ("ORDER_PAID", {}), stream_id="order-1")
    api.model.call("POST /projections/{name}/skip", {"streamId": "order-1", "eventId": 1}, path={"name": "orders"})
    api.model.project("order-1")

    assert esctl("list", "orders", "order-1", "-o", "json").json["rows"][0]["status"] == "paid"
    assert esctl("replay", "--projection", "orders", "--dry-run").exit_code == 0


def test_a_history_beyond_the_bound_is_read_only_on_request(
    esctl: Esctl, api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.commands.replay.HISTORY_MAX", 2)
    monkeypatch.setattr("cli.commands.list_items.HISTORY_MAX", 2)
    for number in range(3):
        placed(api, number)

    result = esctl("replay", "--projection", "orders", "--dry-run")
    as_of = esctl("list", "orders", "--as-of", "2030-01-01")

    assert (result.exit_code, as_of.exit_code) == (ExitCode.FAILED, ExitCode.FAILED)
    assert "more than 2 events" in result.stderr
    assert "--full" in as_of.stderr
    assert esctl("replay", "--projection", "orders", "--dry-run", "--full").exit_code == 0
    assert len(esctl("list", "orders", "--as-of", "2030-01-01", "--full").lines) == 1 + 3


# -- add-event, projections, doctor --------------------------------------------------------------------------------------


def test_wait_is_for_every_projection_that_follows_the_stream(esctl: Esctl, api: ServedApi) -> None:
    esctl.clock = ActingClock(lambda: api.model.project("order-1"))
    data = dumps({"customerId": "c-1", "total": 5})

    result = esctl("add-event", "--type", "ORDER_PLACED", "--stream-id", "order-1", "--data", data, "--wait")

    assert result.exit_code == 0
    assert len(esctl("list", "orders", "-o", "json").json["rows"]) == 1
    assert len(esctl("list", "revenue", "-o", "json").json["rows"]) == 1


def test_wait_ends_at_once_if_the_stream_is_halted(esctl: Esctl, api: ServedApi) -> None:
    esctl.clock = ActingClock(lambda: api.model.project("order-1"))

    result = esctl("add-event", "--type", "ORDER_BROKEN", "--stream-id", "order-1", "--data", "{}", "--wait")

    assert result.exit_code == ExitCode.DEGRADED
    assert esctl.clock.now < 1
    assert "orders: stream order-1 is halted at event 0" in result.stderr


def test_wait_that_is_in_vain_times_out(esctl: Esctl, api: ServedApi) -> None:
    esctl.clock = Clock()
    arguments = ["--type", "ORDER_PAID", "--stream-id", "order-1", "--data", "{}", "--wait", "--timeout", "5"]

    result = esctl("add-event", *arguments)

    assert result.exit_code == ExitCode.TIMED_OUT
    assert "esctl list orders" in result.stderr


def test_projections_show_generations_and_what_is_being_built(esctl: Esctl, api: ServedApi) -> None:
    for number in range(3):
        placed(api, number)
    esctl("replay", "--projection", "orders")
    before = esctl("projections", "orders")
    esctl("replay", "--projection", "orders", "--no-wait")

    document = esctl("projections", "orders", "-o", "json").json
    text = esctl("projections")

    [orders] = document["projections"]
    assert "0 (until 2026-" in before.stdout
    assert (orders["generation"], orders["building"]["generation"]) == (1, 2)
    assert (orders["building"]["kind"], orders["builtPercent"], orders["outdated"]) == ("replay", 0, False)
    assert orders["follows"] == {"prefix": "order-"}
    assert len(document["streams"]) == 3
    assert "2 (replay 0 %)" in text.stdout
    assert "order-*" in text.stdout
    assert "orders: compared 3 streams" in text.stderr


def test_projections_report_rows_that_other_code_built(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    esctl("replay", "--projection", "orders")
    orders = api.model.projections["orders"]
    orders.indexes = {"status": None}  # as if it was deployed with another index

    result = esctl("projections", "orders")

    assert "its rows were built by other code than the deployed" in result.stderr
    assert "esctl replay --projection orders" in result.stderr


def read_models_of(esctl: Esctl, *, full: bool) -> list[Finding]:
    environment = esctl.environment()
    return list(read_models(auditor(Session(environment, Output(environment)).service, full=full)))


def test_doctor_compares_read_models_of_many_streams(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    placed(api, 2)
    tamper(api, "order-1", None, "orders")

    orders, revenue, items = read_models_of(esctl, full=True)

    assert (orders.verdict, orders.what) == (Verdict.FAULT, "orders: 1 row differs from the history: order-1")
    assert orders.hint == "Rebuild it:  esctl replay --projection orders"
    assert (revenue.verdict, revenue.what) == (Verdict.OK, "revenue matches its 2 events")
    assert items.verdict is Verdict.OK


def test_doctor_says_what_it_does_not_compare(esctl: Esctl, api: ServedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.commands.doctor.STREAMS_MAX", 1)
    placed(api, 1)
    placed(api, 2)

    orders, *_ = read_models_of(esctl, full=False)

    assert orders.verdict is Verdict.NOTE
    assert "orders was not compared with its history: more than 1 streams; --full compares it" in orders.what


def test_doctor_reads_a_bounded_number_of_streams(
    esctl: Esctl, api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.operate.doctor.STREAMS_MAX", 2)
    for number in range(4):
        placed(api, number)
    environment = esctl.environment()

    [finding] = contiguity(Session(environment, Output(environment)).service, full=False)

    assert "2 events of 2 streams read, in order; there are more streams" in finding.what
    assert api.called("GET /streams/{streamId}/events") == 2


# -- after a deployment --------------------------------------------------------------------------------------------------


def offered(esctl: Esctl, api: ServedApi, *, replay: bool) -> str:
    environment = esctl.environment()
    session = Session(environment, Output(environment))
    installed_here = list(api.model.projections.values())
    run.offer_replays(session.service, environment, session.output, installed_here, replay=replay, ask=False)
    assert isinstance(environment.stderr, io.StringIO)
    return environment.stderr.getvalue()


def test_a_deployment_offers_to_rebuild_what_other_code_built(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    esctl("replay", "--projection", "orders")
    unchanged = offered(esctl, api, replay=False)
    api.model.projections["orders"].indexes = {"status": None}

    changed = offered(esctl, api, replay=False)
    esctl("replay", "--projection", "orders", "--no-wait")
    being_rebuilt = offered(esctl, api, replay=False)

    assert (unchanged, being_rebuilt) == ("", "")
    assert "the code of orders has changed" in changed
    assert "esctl replay --projection orders" in changed


def test_a_deployment_rebuilds_on_request(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    esctl("replay", "--projection", "orders")
    api.model.projections["orders"].indexes = {"status": None}

    assert "replayed orders: 1 rows before, 1 after, 0 differ" in offered(esctl, api, replay=True)
    assert offered(esctl, api, replay=False) == ""


# -- before a deployment -------------------------------------------------------------------------------------------------


def tried(esctl: Esctl, api: ServedApi) -> str:
    environment = esctl.environment()
    session = Session(environment, Output(environment))
    installed_here = list(api.model.projections.values())
    run.try_new_code(session.service, environment, session.output, installed_here)
    assert isinstance(environment.stderr, io.StringIO)
    return environment.stderr.getvalue()


def test_before_a_deployment_changed_code_is_tried_on_history(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    placed(api, 2)
    esctl("replay", "--projection", "orders")
    unchanged = tried(esctl, api)
    api.model.projections["orders"].indexes = {"status": None}

    changed = tried(esctl, api)

    assert unchanged == ""
    assert "folded 2 events of orders with the new code" in changed
    assert "warning" not in changed


def test_an_event_that_changed_code_cannot_fold_is_found_before_the_deployment(esctl: Esctl, api: ServedApi) -> None:
    placed(api, 1)
    esctl("replay", "--projection", "orders")
    api.model.store.append([NewEvent(StreamId("order-1"), "ORDER_BROKEN", "{}")])
    api.model.projections["orders"].indexes = {"status": None}

    changed = tried(esctl, api)

    assert "warning: a replay of orders will fail: history cannot be folded past event 1 (ORDER_BROKEN)" in changed


def test_a_history_that_is_too_long_is_not_folded_before_the_deployment(
    esctl: Esctl, api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed(api, 1)
    esctl("replay", "--projection", "orders")
    api.model.projections["orders"].indexes = {"status": None}
    monkeypatch.setattr("cli.replay.run.TRIED", history.Bound(events=0, streams=0))

    assert "too long" in tried(esctl, api)


def test_a_projection_that_the_deployment_adds_does_not_keep_others_from_being_tried(
    esctl: Esctl, api: ServedApi
) -> None:
    placed(api, 1)
    esctl("replay", "--projection", "orders")
    api.model.projections["orders"].indexes = {"status": None}
    environment = esctl.environment()
    session = Session(environment, Output(environment))
    added = Projection("added", key="customerId")

    run.try_new_code(session.service, environment, session.output, [added, *api.model.projections.values()])

    assert isinstance(environment.stderr, io.StringIO)
    assert "folded 1 event of orders with the new code" in environment.stderr.getvalue()
