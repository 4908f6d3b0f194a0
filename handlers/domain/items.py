"""The read model of the walkthrough: test items with their amounts."""

from handlers.projection.definition import Projection

TEST_STREAM = "eb724435-02cb-4c68-9d7a-4b6471c5a810"

items = Projection("test-items", key="itemId", streams=[TEST_STREAM], idempotent=True)


@items.on("ITEM_CREATED")
def created(row, event):
    return {"amount": event["amount"]}


@items.on("ITEM_AMOUNT_CHANGED")
def amount_changed(row, event):
    return row and {**row, "amount": event["amount"]}


@items.on("ITEM_DELETED")
def deleted(row, event):
    return None
