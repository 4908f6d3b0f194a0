"""Random interleavings of the real code: writers, projectors, replay workers and readers, crashes and lost messages.

Every call of a port is one step, and a seeded scheduler decides whose step is next (`scheduler`). `world` holds what the
actors share and what must be true of it, `actors` what they do, `mutants` the rules to break, one at a time.
"""
