"""``python -m stack``: the app that the CDK CLI runs (``cdk.json``)."""

from stack.app import main

main()
