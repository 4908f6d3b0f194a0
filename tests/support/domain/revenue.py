"""A projection whose rows many streams write, copied into a checkout's domain: the number and sum of orders per customer."""

from handlers.projection.definition import Prefix, Projection

revenue = Projection("revenue", key="customerId", streams=Prefix("order-"))


@revenue.on("ORDER_PLACED")
def placed(row, event):
    before = row or {"orders": 0, "total": 0}
    return {"orders": before["orders"] + 1, "total": before["total"] + event["total"]}
