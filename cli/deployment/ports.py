"""What deploying needs from the world. The adapters are in `cloudformation`, `assets` and `reporter`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cli.deployment.model import Change, ChangeSet, ChangeSetRequest, Resource, Stack, StackEvent, Template
from cli.deployment.widening import Widening


class Stacks(Protocol):
    """Stacks as they are, and their end."""

    def describe(self, stack: str) -> Stack | None:
        """The stack of this name or id, None if there is none. A deleted stack is found by its id only."""

    def events(self, stack_id: str) -> Iterator[Sequence[StackEvent]]:
        """Pages of events, newest first; a page is fetched when it is asked for."""

    def template(self, stack_id: str) -> Template:
        """The template that the stack was last deployed with."""

    def resources(self, stack_id: str) -> Sequence[Resource]:
        """All resources that the stack holds."""

    def delete(self, stack_id: str, token: str) -> None:
        """Begin to delete the stack."""


class ChangeSets(Protocol):
    """Change sets: made, looked at, then executed or dropped."""

    def create(self, request: ChangeSetRequest) -> str:
        """Begin to make the change set; its id."""

    def describe(self, change_set_id: str) -> ChangeSet:
        """The change set as it is now, with all pages of its changes."""

    def execute(self, change_set_id: str, token: str) -> None:
        """Begin to execute it; events carry `token`."""

    def delete(self, change_set_id: str) -> None:
        """Drop it."""


class BucketState(StrEnum):
    """What is known about the bucket for assets."""

    MISSING = "missing"
    UNFINISHED = "unfinished"
    """Ours, but its making was interrupted: protections are missing."""
    READY = "ready"
    FOREIGN = "foreign"
    """Somebody else's: bucket names are taken world-wide."""


class AssetStore(Protocol):
    """The bucket that holds what a deployment uploads."""

    def state(self, bucket: str) -> BucketState:
        """What is known about the bucket."""

    def prepare(self, bucket: str) -> None:
        """Make the bucket, or finish it: encrypted, versioned, private, TLS only, with a lifecycle."""

    def size(self, bucket: str, key: str) -> int | None:
        """Bytes of the object, None if it isn't there."""

    def put(self, bucket: str, key: str, path: Path) -> None:
        """Upload the file."""

    def url(self, bucket: str, key: str) -> str:
        """The object's HTTPS address, as CloudFormation wants it for a template."""


class Tables(Protocol):
    """Tables that a stack left behind."""

    def holds_items(self, table: str) -> bool:
        """True if the table exists and something is in it."""

    def delete(self, table: str) -> bool:
        """Lift the table's deletion protection, delete it, and wait until it is gone; False if it wasn't there."""


class EventView(AbstractContextManager["EventView"], Protocol):
    """A running operation as it is shown; leaving the context ends the display."""

    def show(self, event: StackEvent) -> None:
        """One more event, each exactly once, oldest first."""


class Reporter(Protocol):
    """What the person, or the script, at the other end sees and answers."""

    def say(self, text: str) -> None:
        """A line of progress, or a note."""

    def working(self, text: str) -> AbstractContextManager[object]:
        """Show that something goes on that takes a while, for as long as the block runs."""

    def plan(self, changes: Sequence[Change], widenings: Sequence[Widening]) -> None:
        """The changes as a table, and what they newly permit."""

    def watching(self, title: str, expected: int) -> EventView:
        """A view of the operation that runs now; `expected` resources will be touched (0: unknown)."""

    def confirm(self, question: str) -> bool:
        """Ask for a yes.

        Raises
        ------
        UsageError
            There is no terminal to ask at.
        """

    def type_in(self, question: str) -> str:
        """Ask for a line of text; raises like `confirm`."""
