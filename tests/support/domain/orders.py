"""A projection over many streams, copied into a checkout's domain: each order has its own stream and its own row."""

from handlers.projection.definition import Prefix, Projection, stream_id

orders = Projection(
    "orders",
    key={"orderId": stream_id},
    streams=Prefix("order-"),
    indexes={"status": "placedAt", "customerId": "total"},
)


@orders.on("ORDER_PLACED")
def placed(row, event):
    return {"status": "placed", "placedAt": event.time, "customerId": event["customerId"], "total": event["total"]}


@orders.on("ORDER_PAID")
def paid(row, event):
    return row and {**row, "status": "paid"}


@orders.on("ORDER_BROKEN")
def broken(row, event):
    raise RuntimeError("this event cannot be applied")
