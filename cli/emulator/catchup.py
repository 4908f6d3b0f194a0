"""After a start: what was stored but not projected gets projected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.errors import CliError
from cli.keys import local_access_key
from cli.state import State
from cli.targets import Targets

if TYPE_CHECKING:
    from cli.aws import Clients

_RECONCILER = "Reconciler"


def catch_up(state: State, endpoint_url: str) -> list[str]:
    """Ask the reconciler of every local stack to compare heads with checkpoints now, instead of at its next minute.

    The records of the tables' streams are not saved with the tables, so what was stored just before the end may never
    have been published.

    Returns
    -------
    The names of the stacks that were asked; a stack that could not be is left to its schedule.
    """
    stacks = [target for target in Targets(state).all() if target.is_local]
    asked, access_key = [], local_access_key(state)
    for target in stacks:
        from cli.aws import Clients

        clients = Clients(target.with_endpoint(endpoint_url, access_key))
        try:
            if _invoke(clients, target.stack_name):
                asked.append(target.stack_name)
        except CliError:
            continue
    return asked


def _invoke(clients: Clients, stack_name: str) -> bool:
    from cli.aws import errors

    with errors():
        pages = clients.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack_name)
        for page in pages:
            for resource in page["StackResourceSummaries"]:
                name = resource.get("PhysicalResourceId")
                if resource["LogicalResourceId"] == _RECONCILER and name:
                    clients.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
                    return True
    return False
