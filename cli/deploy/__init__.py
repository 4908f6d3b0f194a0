"""Deploy, compare and destroy a stack.

`plan` holds the data and the decisions, `run` executes them, `follow` watches CloudFormation, `aws` makes every call,
`assembly` synthesizes the template, `permission_diff` compares the grants of two templates, `screen` renders.
"""
