"""What runs in Lambda: the event store, the projection engine and their thin entry points."""
