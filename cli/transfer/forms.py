"""The forms of an event in a file: one JSON object a line."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

from cli.client.service import Event
from handlers.exactjson import dumps


class FormName(StrEnum):
    """What ``--format`` takes."""

    JSONL = "jsonl"
    CLOUDEVENTS = "cloudevents"


class BadLineError(Exception):
    """A line that can't be imported: what is wrong with it.

    Parameters
    ----------
    line
        Its number, from 1; 0 where the raiser does not know it.
    """

    def __init__(self, faults: Sequence[str], line: int = 0) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)
        self.line = line


class Form(Protocol):
    """How events are written on lines, and read again."""

    def encode(self, event: Event) -> str:
        """An event as one line, without its end."""
        ...

    def decode(self, value: dict[str, Any]) -> dict[str, Any]:
        """The event that a line's JSON object stands for, in the contract's form as far as it goes.

        Raises
        ------
        BadLineError
        """
        ...


class JsonLines:
    """The contract's own form: what ``GET /streams/{streamId}/events`` gives is what stands on the line."""

    def encode(self, event: Event) -> str:
        return dumps(event)

    def decode(self, value: dict[str, Any]) -> dict[str, Any]:
        if "specversion" in value and "streamId" not in value:
            raise BadLineError(["it is a CloudEvent; add --format cloudevents"])
        return value


def form(name: FormName) -> Form:
    if name is FormName.CLOUDEVENTS:
        from cli.transfer.cloudevents import CloudEvents

        return CloudEvents()
    return JsonLines()
