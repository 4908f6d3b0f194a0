"""DynamoDB's limits, which the event store and the read models are held to.

Source: "Quotas and limits in Amazon DynamoDB",
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""

# Names of attributes included.
ITEM_BYTES = 400 * 1024
SORT_KEY_BYTES = 1024
# How deep attributes may be nested; a projection may make any part of an event's data an attribute.
NESTING_LEVELS = 32
TRANSACTION_ITEMS = 100
TRANSACTION_BYTES = 4 * 1024 * 1024
BATCH_WRITE_ITEMS = 25
# Significant digits of a number, and the exponents of the largest and the smallest one (9.99e125, 1e-130).
NUMBER_DIGITS = 38
LARGEST_EXPONENT = 125
SMALLEST_EXPONENT = -130
