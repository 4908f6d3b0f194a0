"""What has to be right before anything is touched; all that is missing is said at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cli.errors import CliError
from cli.settings import Settings
from cli.targets import Target

if TYPE_CHECKING:
    from cli.aws import Clients


def checked_target(
    target: Target, settings: Settings, clients_for: Callable[[Target], Clients], *, creates: bool
) -> Target:
    """The target with its region and account.

    Parameters
    ----------
    creates
        The command may make a stack, for which AWS needs an API key. Where credentials and region are right, this
        is judged later: a stack that exists keeps its key.

    Raises
    ------
    CliError
        One line for each thing that is missing.
    """
    if target.is_local:
        return target
    found: list[CliError] = []
    try:
        return _located(target, clients_for)
    except CliError as error:
        found.append(error)
    if creates:
        try:
            settings.required_api_key()
        except CliError as error:
            found.append(error)
    raise combined(found)


def _located(target: Target, clients_for: Callable[[Target], Clients]) -> Target:
    from cli.aws import account_of, region_of

    faults: list[CliError] = []
    try:
        target = replace(target, region=region_of(target))
    except CliError as error:
        faults.append(error)
        target = replace(target, region=target.region or "us-east-1")  # only to ask who we are
    try:
        target = target.with_account(account_of(clients_for(target)))
    except CliError as error:
        faults.append(error)
    if faults:
        raise combined(faults)
    return target


def combined(faults: Sequence[CliError]) -> CliError:
    """One error of several: each is a line, with what to do about it."""
    if len(faults) == 1:
        return faults[0]
    lines = [line for fault in faults for line in (fault.faults or (_line(fault),))]
    return CliError(f"not ready: {len(lines)} things are missing", exit_code=faults[0].exit_code, faults=lines)


def _line(fault: CliError) -> str:
    return f"{fault.message}. {fault.hint}" if fault.hint else fault.message
