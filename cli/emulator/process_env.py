"""The environment variables of the emulator's process; its functions see them too."""

from __future__ import annotations

import os
from collections.abc import Mapping

from cli.config.keys import ensure_local_access_key
from cli.config.state import State
from cli.config.targets import LOCAL_ACCOUNT, LOCAL_REGION
from cli.emulator import paths

# What a Python process needs to find its things. Nothing else is passed on: no proxy (it would catch calls to 127.0.0.1),
# no credentials, no API_KEY, and no AUTH or LOG_LEVEL that the emulator would read as its own.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONUSERBASE", "VIRTUAL_ENV")


def emulator_variables(state: State, variables: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the emulator; call it with the start lock held."""
    access_key = ensure_local_access_key(state)
    kept = {name: variables[name] for name in _PASSED_ON if name in variables}
    return kept | {
        "TMPDIR": str(paths.temporary(state)),
        # What the emulator takes for its administrator, and what its functions call it with (authorization.py).
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": access_key,
        # The user's own configuration must not reach the functions' clients.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": LOCAL_REGION,
        "MINISTACK_ACCOUNT_ID": LOCAL_ACCOUNT,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # At its start and end the emulator would remove containers that another one made.
        "DOCKER_HOST": f"unix://{paths.folder(state)}/no-docker.sock",
        "LOG_LEVEL": "WARNING",
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
        "STATE_DIR": str(paths.services(state)),
        "S3_DATA_DIR": str(paths.objects(state)),
        # Function roles are enforced only on request: it costs time at every call.
        "AUTH": "true" if variables.get("ESCTL_LOCAL_IAM", "").lower() in ("true", "1") else "false",
    }
