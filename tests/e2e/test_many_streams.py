"""Projections over many streams, each order in a stream of its own: queries, replays under load, and changed code."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.support import Answer, Stack, wait_until
from tests.support.checkout import checkout_with

WRITERS = 6
PAID_TOTAL = 12
Rows = dict[str, dict[str, Any]]


class Shop(Stack):
    """A stack deployed from a checkout with the projections `orders` and `revenue`."""

    @property
    def domain(self) -> Path:
        """The folder of the checkout's projections."""
        return Path(self.variables["PYTHONPATH"]) / "handlers" / "domain"

    def place(self, order: str, customer: str, total: int = PAID_TOTAL) -> int:
        return self.append(order, "ORDER_PLACED", {"customerId": customer, "total": total})

    def pay(self, order: str) -> int:
        return self.append(order, "ORDER_PAID", {})

    def rows(self, projection: str, **query: object) -> Answer:
        return self.api("GET", f"/projections/{projection}/rows?{urlencode(query)}")

    def all_rows(self, projection: str, **query: object) -> Rows:
        """All rows that a query selects, page after page, by their keys."""
        found: Rows = {}
        page = self.rows(projection, **query)
        while True:
            assert page.status == 200, page
            for row in page.body["rows"]:
                key = row.pop("orderId" if projection == "orders" else "customerId")
                assert key not in found, f"{key} is on two pages"
                found[key] = row
            if page.body["nextToken"] is None:
                return found
            page = self.rows(projection, **query, nextToken=page.body["nextToken"])

    def wait_for_event(self, projection: str, order: str, event_id: int) -> None:
        answer = self.rows(projection, key="x", after=f"{order}:{event_id}")
        assert answer.status in (200, 404), answer

    def status(self, projection: str, stream_id: str | None = None) -> Any:
        query = {"name": projection} | ({"streamId": stream_id} if stream_id else {})
        [found] = self.api("GET", f"/projections?{urlencode(query)}").body["projections"]
        return found

    def checkpoint(self, projection: str, stream_id: str) -> int:
        [stream] = self.status(projection, stream_id)["streams"]
        return int(stream["checkpoint"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    program, variables = checkout_with(folder / "checkout", ["orders", "revenue"])
    shop = Shop(folder, variables, program=program)
    try:
        shop.deploy()
        yield shop
    finally:
        shop.stop()


def fresh_orders(number: int) -> list[str]:
    """Ids of orders that sort in this order, and begin with the same text, which no other order's id begins with."""
    own = uuid.uuid4().hex[:8]
    return [f"order-{own}-{each:03}" for each in range(number)]


def fresh_customer() -> str:
    return f"customer-{uuid.uuid4().hex[:8]}"


# -- queries -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def placed(shop: Shop) -> tuple[list[str], str]:
    """Seven orders of one customer, of 10, 20 … 70; those of 20, 40 and 60 are paid."""
    orders, customer = fresh_orders(7), fresh_customer()
    for number, order in enumerate(orders):
        last = shop.place(order, customer, 10 * (number + 1))
        if number % 2:
            last = shop.pay(order)
        shop.wait_for_event("orders", order, last)
    return orders, customer


def test_rows_of_many_streams_are_listed_looked_up_and_queried(shop: Shop, placed: tuple[list[str], str]) -> None:
    orders, customer = placed
    own = orders[0][:-3]

    def listed(*arguments: str) -> list[str]:
        document = shop.esctl("list", "orders", *arguments, "-o", "json").ok().json
        return [row["orderId"] for row in document["rows"]]

    assert listed("--prefix", own) == orders
    assert listed("--from", orders[2], "--to", orders[4]) == orders[2:5]
    assert listed("--prefix", own, "--newest", "--limit", "2") == [orders[6], orders[5]]
    wait_until(lambda: listed("--by", f"customerId={customer}") == orders, "the index has all orders")
    assert listed("--by", f"customerId={customer}", "--from", "30", "--to", "50") == orders[2:5]
    assert listed("--by", f"customerId={customer}", "--newest", "--limit", "2") == [orders[6], orders[5]]
    assert [each for each in listed("--by", "status=paid", "--newest") if each in orders] == [
        orders[5],
        orders[3],
        orders[1],
    ]
    [row] = shop.esctl("list", "orders", orders[1], "-o", "json").ok().json["rows"]
    assert row.pop("placedAt").endswith("Z")
    assert row == {"orderId": orders[1], "status": "paid", "customerId": customer, "total": 20}
    table = shop.esctl("list", "orders", orders[1]).ok().stdout
    assert all(text in table for text in ("orderId", "status", "placedAt", "customerId", "total", orders[1], "paid"))


def test_pages_continue_in_key_order_and_in_an_index(shop: Shop, placed: tuple[list[str], str]) -> None:
    orders, customer = placed
    by_customer = {"index": "customerId", "value": customer}

    assert list(shop.all_rows("orders", prefix=orders[0][:-3], limit=2)) == orders
    assert list(shop.all_rows("orders", prefix=orders[0][:-3], limit=3, order="desc")) == orders[::-1]
    wait_until(lambda: list(shop.all_rows("orders", **by_customer, limit=2)) == orders, "the index has all orders")
    token = shop.rows("orders", **by_customer, limit=2).body["nextToken"]
    assert shop.rows("orders", index="status", value="paid", nextToken=token).status == 400
    assert shop.rows("orders", limit=2, nextToken=token).status == 400


@pytest.mark.parametrize(
    ("arguments", "exit_code", "named"),
    [
        (["nothing"], 3, "orders"),
        (["orders", "order-nobody-placed"], 3, "order-nobody-placed"),
        (["orders", "--by", "colour=red"], 1, "status, customerId"),
        (["orders", "--from", "b", "--to", "a"], 1, "from"),
        (["orders", "--after", "customer-1:0"], 1, "follow"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(shop: Shop, arguments: list[str], exit_code: int, named: str) -> None:
    result = shop.esctl("list", *arguments)

    assert result.exit_code == exit_code, result
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("path", "status", "named"),
    [
        ("/projections/nothing/rows", 404, "orders"),
        ("/projections/orders/rows?index=colour&value=red", 400, "status, customerId"),
        ("/projections/orders/rows?index=status", 400, "query:value"),
        ("/projections/orders/rows?index=status&value=" + "v" * 1501, 400, "query:value"),
        ("/projections/orders/rows?nextToken=nonsense", 400, "query:nextToken"),
        ("/projections/orders/rows?after=order-1", 400, "query:after"),
        ("/projections/orders/rows?after=customer-1:0", 400, "query:after"),
    ],
)
def test_the_api_refuses_what_does_not_exist(shop: Shop, path: str, status: int, named: str) -> None:
    answer = shop.api("GET", path)

    assert answer.status == status, answer
    assert named in json.dumps(answer.body)


def test_a_value_that_no_row_has_selects_nothing(shop: Shop) -> None:
    assert shop.rows("orders", index="status", value="lost").body == {"rows": [], "nextToken": None}


# -- reading one's own writes --------------------------------------------------------------------------------------------


def test_a_reader_sees_what_it_wrote(shop: Shop) -> None:
    [order], customer = fresh_orders(1), fresh_customer()
    for total in range(1, 6):
        event_id = shop.place(order, customer, total)
        own = shop.rows("orders", key=order, after=f"{order}:{event_id}")
        assert own.status == 200
        assert own.body["rows"][0]["total"] == total
        of_customer = shop.rows("revenue", key=customer, after=f"{order}:{event_id}")
        assert of_customer.body["rows"] == [
            {"customerId": customer, "orders": total, "total": total * (total + 1) // 2}
        ]


# -- rows that several streams write ---------------------------------------------------------------------------------------


def test_rows_that_several_writers_share_count_every_event_once(shop: Shop) -> None:
    customers, orders = [fresh_customer() for _ in range(2)], fresh_orders(WRITERS * 8)

    def write(writer: int) -> None:
        for number, order in enumerate(orders[writer::WRITERS]):
            shop.place(order, customers[number % 2], total=writer + 1)

    in_threads(write, WRITERS)

    expected = 4 * sum(range(1, WRITERS + 1))
    for customer in customers:
        wait_until(
            lambda: shop.all_rows("revenue", prefix=customer).get(customer, {}).get("orders", 0) >= WRITERS * 4,  # noqa: B023
            "all orders are counted",
        )
        assert shop.all_rows("revenue", prefix=customer)[customer] == {"orders": WRITERS * 4, "total": expected}
    shop.esctl("replay", "-p", "revenue", "--dry-run").ok()


# -- replays -------------------------------------------------------------------------------------------------------------


class Load:
    """Writers that raise the totals of orders, and readers that keep what they saw going wrong."""

    def __init__(self, shop: Shop, orders: list[str]) -> None:
        self.shop = shop
        self.orders = orders
        self.customer = fresh_customer()
        self.totals = dict.fromkeys(orders, 0)
        self.reads = 0
        self.wrong: list[str] = []
        self._ended = threading.Event()

    def write(self, orders: list[str]) -> None:
        while not self._ended.is_set():
            for order in orders:
                self.shop.place(order, self.customer, self.totals[order] + 1)
                self.totals[order] += 1

    def read(self, query: dict[str, object]) -> None:
        """Every list has every order that was there before, none with a total that is less than before."""
        seen: Rows = {order: {"total": 1} for order in self.orders}
        while not self._ended.is_set():
            rows = self.shop.all_rows("orders", **query)
            for order, before in seen.items():
                if order not in rows:
                    self.wrong.append(f"{order} is missing")
                elif rows[order]["total"] < before["total"]:
                    self.wrong.append(f"{order} went back from {before['total']} to {rows[order]['total']}")
            seen = {order: rows.get(order, before) for order, before in seen.items()}
            self.reads += 1

    def watch(self, order: str) -> None:
        """The checkpoint of a stream never goes back."""
        before = 0
        while not self._ended.is_set():
            now = self.shop.checkpoint("orders", order)
            if now < before:
                self.wrong.append(f"the checkpoint of {order} went back from {before} to {now}")
            before = now

    @contextmanager
    def running(self) -> Iterator[None]:
        own = self.orders[0][:-3]
        with ThreadPoolExecutor(7) as threads:
            work = [threads.submit(self.write, self.orders[writer::4]) for writer in range(4)]
            work += [threads.submit(self.read, {"prefix": own, "limit": limit}) for limit in (1000, 7)]
            work.append(threads.submit(self.watch, self.orders[0]))
            try:
                yield
            finally:
                self._ended.set()
        for each in work:
            each.result()


@pytest.mark.timeout(240)
def test_readers_and_writers_do_not_notice_replays_and_a_rollback(shop: Shop) -> None:
    load = Load(shop, fresh_orders(24))
    for order in load.orders:
        shop.wait_for_event("orders", order, shop.place(order, load.customer, 1))
        load.totals[order] = 1
    jobs = []

    with load.running():
        for arguments in ([], ["--rollback"], []):
            reads = load.reads
            jobs.append(shop.esctl("replay", "-p", "orders", *arguments, "-o", "json").ok().json)
            wait_until(lambda: load.reads > reads + 2, "the readers read")  # noqa: B023

    assert [(job["kind"], job["state"]) for job in jobs] == [
        ("replay", "done"),
        ("rollback", "done"),
        ("replay", "done"),
    ]
    assert load.wrong == []
    for order, total in load.totals.items():
        assert len(shop.events(order)) == total
        shop.wait_for_event("orders", order, total - 1)
    rows = shop.all_rows("orders", prefix=load.orders[0][:-3])
    assert {order: row["total"] for order, row in rows.items()} == load.totals
    shop.esctl("replay", "-p", "orders", "--dry-run").ok()


def test_a_cancelled_replay_changes_nothing(shop: Shop) -> None:
    [order], customer = fresh_orders(1), fresh_customer()
    shop.wait_for_event("orders", order, shop.place(order, customer))
    before = shop.status("orders")["generation"]
    with shop.replays_held():
        started = shop.esctl("replay", "-p", "orders", "--no-wait", "-o", "json").ok().json
        cancelled = shop.esctl("replay", "-p", "orders", "--cancel", "-o", "json").ok().json
        again = shop.esctl("replay", "-p", "orders", "--cancel")

    assert (cancelled["replayId"], cancelled["state"]) == (started["replayId"], "cancelled")
    assert again.exit_code == 3
    assert shop.status("orders")["generation"] == before
    paid = shop.pay(order)
    assert shop.rows("orders", key=order, after=f"{order}:{paid}").body["rows"][0]["status"] == "paid"
    assert shop.esctl("replay", "-p", "orders", "-o", "json").ok().json["state"] == "done"


def test_an_event_that_cannot_be_applied_halts_its_order_only_and_fails_replays(shop: Shop) -> None:
    [broken, sound], customer = fresh_orders(2), fresh_customer()
    shop.place(broken, customer)
    event_id = shop.append(broken, "ORDER_BROKEN", {})
    later = shop.pay(broken)
    wait_until(lambda: "halted" in shop.status("orders", broken)["streams"][0], "the stream is halted")
    refused = shop.rows("orders", key=broken, after=f"{broken}:{later}")
    shop.wait_for_event("orders", sound, shop.place(sound, customer))
    shop.wait_for_event("revenue", broken, later)

    # a reader that waits for an event behind it is told
    assert refused.status == 409
    assert refused.body["type"].endswith("not-applied")
    assert refused.body["streamId"] == broken
    assert refused.body["checkpoint"] == event_id - 1
    assert shop.esctl("list", "orders", broken, "--after", f"{broken}:{later}").exit_code == 7
    assert shop.esctl("status").exit_code == 7

    # a replay fails, and the rows stay as they were
    generation, rows = shop.status("orders")["generation"], shop.all_rows("orders")
    failed = shop.esctl("replay", "-p", "orders")
    [job] = shop.api("GET", "/replays?limit=1").body["replays"]
    assert failed.exit_code == 1
    assert f"event {event_id} of stream {broken}: RuntimeError" in failed.stderr
    assert job["state"] == "failed"
    assert job["error"] == {
        "streamId": broken,
        "eventId": event_id,
        "error": "RuntimeError: this event cannot be applied",
    }
    assert shop.status("orders")["generation"] == generation
    assert shop.all_rows("orders") == rows

    # resuming halts again; after a skip, a replay skips the event too
    where = ("--stream-id", broken)
    assert shop.esctl("projections", "resume", "orders", *where).exit_code == 7
    shop.esctl("projections", "skip", "orders", *where, "--event-id", str(event_id), "--yes").ok()
    assert shop.rows("orders", key=broken, after=f"{broken}:{later}").body["rows"][0]["status"] == "paid"
    shop.esctl("replay", "-p", "orders").ok()
    assert shop.rows("orders", key=broken).body["rows"][0]["status"] == "paid"
    assert [each["eventId"] for each in shop.status("orders", broken)["streams"][0]["skipped"]] == [event_id]


def test_rows_as_of_a_time_are_folded_from_all_streams(shop: Shop) -> None:
    orders, customer = fresh_orders(2), fresh_customer()
    shop.place(orders[0], customer, 1)
    shop.place(orders[1], customer, 2)
    then = shop.events(orders[1])[0]["timeStamp"]
    wait_until(lambda: shop.events(orders[0])[-1]["timeStamp"] <= then, "the first order is older")
    paid = 0
    while not paid or shop.events(orders[0])[-1]["timeStamp"] == then:  # not within the same millisecond
        paid = shop.pay(orders[0])

    def listed(*arguments: str) -> list[tuple[str, str]]:
        document = shop.esctl("list", "orders", "--prefix", orders[0][:-3], *arguments, "-o", "json").ok().json
        return [(row["orderId"], row["status"]) for row in document["rows"]]

    assert listed("--as-of", then) == [(orders[0], "placed"), (orders[1], "placed")]
    assert listed("--after", f"{orders[0]}:{paid}") == [(orders[0], "paid"), (orders[1], "placed")]
    assert shop.esctl("list", "orders", "--as-of", "1").exit_code == 2


# -- changed code ----------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(420)
def test_changed_code_folds_new_rows_only(shop: Shop) -> None:
    """G10: until the replay is through, rows are folded by the code they were built with; a rollback restores both."""
    orders, customer = fresh_orders(4), fresh_customer()
    own = orders[0][:-3]
    shop.wait_for_event("orders", orders[0], shop.place(orders[0], customer))

    def currencies() -> dict[str, Any]:
        return {order: row.get("currency") for order, row in shop.all_rows("orders", prefix=own).items()}

    # given a changed handler, and a projection that is new over the existing history
    orders_code, revenue_code = ((shop.domain / f"{name}.py").read_text() for name in ("orders", "revenue"))
    changed = orders_code.replace('{"status": "placed", ', '{"status": "placed", "currency": "EUR", ')
    (shop.domain / "orders.py").write_text(changed)
    (shop.domain / "spent.py").write_text(revenue_code.replace("revenue", "spent"))

    # when it is deployed, then old and new rows are folded by the old code
    deployed = shop.esctl("deploy", "--local", "--yes", timeout_s=180).ok()
    assert "the code of orders has changed" in deployed.stderr
    shop.wait_for_event("orders", orders[1], shop.place(orders[1], customer))
    assert currencies() == {orders[0]: None, orders[1]: None}
    status = shop.status("orders")
    assert status["fingerprint"] != status["generationFingerprint"]

    # and the new projection gets its history from the reconciler
    def backfilled() -> bool:
        payload = json.dumps({"projection": "spent"}).encode()
        answer = shop.client("lambda").invoke(FunctionName=shop.function("Reconciler"), Payload=payload)
        assert "FunctionError" not in answer, answer["Payload"].read()
        return shop.all_rows("spent") == shop.all_rows("revenue")

    wait_until(backfilled, "the new projection has its history", timeout_s=60)

    # when it is replayed, then by the new code, and later events too
    shop.esctl("replay", "-p", "orders").ok()
    shop.wait_for_event("orders", orders[2], shop.place(orders[2], customer))
    assert currencies() == dict.fromkeys(orders[:3], "EUR")

    # when it is rolled back, then rows and code are the old ones
    shop.esctl("replay", "-p", "orders", "--rollback").ok()
    shop.wait_for_event("orders", orders[3], shop.place(orders[3], customer))
    assert currencies() == dict.fromkeys(orders)

    # when it is deployed with a replay, then all is new
    replayed = shop.esctl("deploy", "--local", "--yes", "--replay", timeout_s=180).ok()
    assert "replayed orders" in replayed.stderr
    assert currencies() == dict.fromkeys(orders, "EUR")
    shop.esctl("replay", "-p", "orders", "--dry-run").ok()
    shop.esctl("dead-letters", "redrive").ok()  # of the order that was halted
    shop.esctl("status").ok()


def in_threads(do: Callable[[int], None], number: int) -> None:
    """Call a function in several threads, each with its number; raises what one of them raises."""
    with ThreadPoolExecutor(number) as threads:
        for each in [threads.submit(do, index) for index in range(number)]:
            each.result()
