"""What every command that changes something says first: where it is about to do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.aws import account_of

if TYPE_CHECKING:
    from cli.session import Session


def announce(session: Session, doing: str) -> None:
    """Name account, region and stack on AWS: ``Resuming on stack esctl in 123456789012/eu-central-1``."""
    target = session.target
    if target.is_local:
        return
    if target.account is None:
        target = target.with_account(account_of(session.clients))
    session.output.message(f"{doing} on {target.label}")
