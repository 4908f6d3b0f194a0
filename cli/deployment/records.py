"""What this machine remembers of its deployments: enough to say "nothing changed" without asking for a change set."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cli.deployment.model import Stack
from cli.deployment.states import settled_well
from cli.state import State
from cli.targets import Target

_FOLDER = "deployments"


@dataclass(frozen=True, slots=True)
class Deployed:
    """The last deployment from here.

    Attributes
    ----------
    fingerprint
        What was deployed: code and settings in one hash.
    stack_id, changed_at
        The stack as the deployment left it. Whoever deploys after us moves `changed_at`.
    key_salt, key_hash
        Tell whether another API key was set since; the key itself is not in here.
    kept_tables
        Tables that a destroyed stack left behind.
    """

    fingerprint: str = ""
    stack_id: str = ""
    changed_at: str = ""
    key_salt: str = ""
    key_hash: str = ""
    kept_tables: tuple[str, ...] = ()

    def is_of(self, stack: Stack, fingerprint: str) -> bool:
        """True when the stack stands as this deployment left it, and this is what would be deployed again."""
        return (
            settled_well(stack)
            and bool(self.fingerprint)
            and (self.fingerprint, self.stack_id, self.changed_at) == (fingerprint, stack.id, stack.changed_at)
        )

    def has_key(self, key: str) -> bool:
        """True when the key is the one deployed."""
        return bool(self.key_hash) and hmac.compare_digest(self.key_hash, _hashed(self.key_salt, key))


class Records:
    """The records of all targets, in the state directory."""

    def __init__(self, state: State) -> None:
        self._state = state

    def of(self, target: Target) -> Deployed:
        """The target's record, an empty one where there is none."""
        found = self._state.read_json(_FOLDER, f"{target.record}.json", valid=_is_record)
        if found is None:
            return Deployed()
        fingerprint, stack_id, changed_at, key_salt, key_hash = (found[name] for name in _TEXTS)
        return Deployed(fingerprint, stack_id, changed_at, key_salt, key_hash, tuple(found["keptTables"]))

    def deployed(self, target: Target, stack: Stack, fingerprint: str, key: str | None) -> None:
        """Remember a deployment; `key` None: the stack still has the key it had."""
        last = self.of(target)
        kept = tuple(table for table in last.kept_tables if table not in stack.outputs.values())
        record = replace(
            last, fingerprint=fingerprint, stack_id=stack.id, changed_at=stack.changed_at, kept_tables=kept
        )
        if key is not None and not last.has_key(key):
            salt = secrets.token_hex(16)
            record = replace(record, key_salt=salt, key_hash=_hashed(salt, key))
        self._write(target, record)

    def destroyed(self, target: Target, kept_tables: Sequence[str]) -> None:
        """Remember only what a destroyed stack left behind."""
        if kept_tables:
            self._write(target, Deployed(kept_tables=tuple(kept_tables)))
        else:
            self._state.remove(_FOLDER, f"{target.record}.json")

    def _write(self, target: Target, record: Deployed) -> None:
        document = {
            "fingerprint": record.fingerprint,
            "stackId": record.stack_id,
            "changedAt": record.changed_at,
            "keySalt": record.key_salt,
            "keyHash": record.key_hash,
            "keptTables": list(record.kept_tables),
        }
        self._state.write_json(document, _FOLDER, f"{target.record}.json")


_TEXTS = ("fingerprint", "stackId", "changedAt", "keySalt", "keyHash")


def _is_record(document: dict[str, Any]) -> bool:
    tables = document.get("keptTables")
    texts = [document.get(name) for name in _TEXTS]
    return isinstance(tables, list) and all(isinstance(text, str) for text in (*texts, *tables))


def _hashed(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()
