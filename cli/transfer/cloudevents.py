"""CloudEvents 1.0 (https://github.com/cloudevents/spec), JSON format, one event a line.

==================  ==================================================================================================
attribute           what it is here
==================  ==================================================================================================
``specversion``     ``1.0``
``id``              the eventId; with ``source`` it is unique, as the specification demands
``source``          ``/streams/`` and the stream id, percent-encoded
``type``            the type
``time``            the timeStamp
``datacontenttype`` ``application/json``
``dataschema``      ``urn:esctl:schema:`` type ``:`` schemaVersion
``correlationid``,  metadata of these names (``correlationId`` …), where it is text without control characters
``causationid``,
``actor``
``metadata``        the whole metadata as JSON text, only where the three attributes above don't say it all
``data``            the data
==================  ==================================================================================================

Events of other systems, told by a ``source`` of another form: the stream is their ``subject``, or their ``source`` where
there is none; they get the next eventId; ``id``, ``source`` and every attribute that has no place above are kept in the
metadata (``cloudEventId``, ``cloudEventSource``, else by their own name).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote

from cli.client.service import Event
from cli.transfer.forms import BadLineError
from handlers.exactjson import NotJson, dumps, loads

_SOURCE = "/streams/"
_SCHEMA = "urn:esctl:schema:"
_JSON_TYPE = re.compile(r"(application|text)/(json|[a-z0-9.+-]+\+json)(\s*;.*)?", re.IGNORECASE)
# Attributes are strings without control characters (CloudEvents 1.0.2, type system).
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_EXTENSIONS = {"correlationid": "correlationId", "causationid": "causationId", "actor": "actor"}
_CORE = ("specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "subject", "metadata")


class CloudEvents:
    """Events as CloudEvents."""

    def encode(self, event: Event) -> str:
        event_type, version = event["type"], event.get("schemaVersion", 1)
        written: dict[str, Any] = {
            "specversion": "1.0",
            "id": str(event["eventId"]),
            "source": _SOURCE + quote(event["streamId"], safe=""),
            "type": event_type,
            "time": event["timeStamp"],
            "datacontenttype": "application/json",
            "dataschema": f"{_SCHEMA}{quote(event_type, safe='')}:{version}",
            **_extensions(event.get("metadata")),
            "data": event["data"],
        }
        return dumps(written)

    def decode(self, value: dict[str, Any]) -> dict[str, Any]:
        _check_attributes(value)
        ours = value["source"].startswith(_SOURCE)
        event: dict[str, Any] = _place(value) if ours else {"streamId": value.get("subject") or value["source"]}
        event |= {"type": value["type"], "data": value["data"]}
        if "time" in value:
            event["timeStamp"] = value["time"]
        version = _schema_version(value)
        if version is not None:
            event["schemaVersion"] = version
        metadata = _metadata(value, ours=ours)
        if metadata is not None:
            event["metadata"] = metadata
        return event


def _check_attributes(value: dict[str, Any]) -> None:
    if "specversion" not in value and "streamId" in value:
        raise BadLineError(["it is no CloudEvent; leave --format cloudevents out"])
    faults = []
    if value.get("specversion", "1.0") != "1.0":
        faults.append(f"specversion is {value['specversion']!r}, not '1.0'")
    required = ("specversion", "id", "source", "type")
    faults += [f"{name} is missing" for name in required if name not in value]
    faults += [
        f"{name} is not a text of at least one character"
        for name in (*required, "subject", "dataschema", "datacontenttype", "metadata")
        if name in value and not (isinstance(value[name], str) and value[name])
    ]
    if "data_base64" in value:
        faults.append("its data is binary; only JSON objects can be stored")
    elif "data" not in value:
        faults.append("data is missing")
    content = value.get("datacontenttype", "application/json")
    if isinstance(content, str) and content and not _JSON_TYPE.fullmatch(content):
        faults.append(f"datacontenttype is {content!r}; only JSON can be stored")
    if faults:
        raise BadLineError(faults)


def _place(value: dict[str, Any]) -> dict[str, Any]:
    """Stream and eventId of an event that was exported from here."""
    if not re.fullmatch("0|[1-9][0-9]{0,15}", value["id"]):
        raise BadLineError([f"id is {value['id']!r}, which is no eventId of a stream"])
    try:
        stream_id = unquote(value["source"].removeprefix(_SOURCE), errors="strict")
    except UnicodeDecodeError as error:
        raise BadLineError(["source is not percent-encoded UTF-8"]) from error
    return {"streamId": stream_id, "eventId": int(value["id"])}


def _schema_version(value: dict[str, Any]) -> int | None:
    schema, _, version = value.get("dataschema", "").rpartition(":")
    if schema != f"{_SCHEMA}{quote(value['type'], safe='')}" or not re.fullmatch("[1-9][0-9]{0,15}", version):
        return None
    return int(version)


def _extensions(metadata: dict[str, Any] | None) -> dict[str, str]:
    if metadata is None:
        return {}
    said = {
        attribute: metadata[name]
        for attribute, name in _EXTENSIONS.items()
        if isinstance(metadata.get(name), str) and metadata[name] and not _CONTROLS.search(metadata[name])
    }
    # Read back, it has to be the same text: names, order and all.
    if said and dumps({_EXTENSIONS[attribute]: text for attribute, text in said.items()}) == dumps(metadata):
        return said
    return {**said, "metadata": dumps(metadata, ascii_only=True)}


def _metadata(value: dict[str, Any], *, ours: bool) -> dict[str, Any] | None:
    if "metadata" in value:
        try:
            metadata = loads(value["metadata"])
        except NotJson as error:
            raise BadLineError([f"metadata is not JSON text: {error}"]) from error
        if not isinstance(metadata, dict):
            raise BadLineError(["metadata is not a JSON object"])
    else:
        metadata = {name: value[attribute] for attribute, name in _EXTENSIONS.items() if attribute in value}
    if not ours:
        metadata |= {"cloudEventId": value["id"], "cloudEventSource": value["source"]}
        if "dataschema" in value and _schema_version(value) is None:
            metadata["dataschema"] = value["dataschema"]
        known = {*_CORE, *_EXTENSIONS, "data"}
        metadata |= {name: each for name, each in value.items() if name not in known}
    return metadata or ({} if "metadata" in value else None)
