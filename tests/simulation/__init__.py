"""Random interleavings of the real code: writers, projectors, replay workers, operators, reconcilers and readers.

Every call of a port is one step, and a seeded scheduler decides whose step is next (`scheduler`). Processes crash before or
after any call, responses and messages get lost, and warm copies are old. `projections` holds the folds and what they must
lead to, `world` what the actors share, `actors` what they do, and `mutants` the rules to break, one at a time.
"""
