"""Deploying, comparing and destroying a stack: plan → show → execute.

Planning is pure (`states`, `changes`, `widening`, `fingerprint`); every remote call goes through a port of `ports`, and
`cloudformation` and `assets` hold the only adapters that speak to AWS.
"""
