"""Looking at a deployed stack: what it consists of, where its projections stand, what its queues hold."""
