"""boto3 clients for the tests: of the emulator or of moto, with credentials that open nothing."""

from typing import Any

import boto3
from botocore.config import Config

from tests.support.emulator import REGION

_ACCESS_KEY, _SECRET_KEY = "testing", "testing"
# Enough for the contract's 16 writers at once.
_MAX_CONNECTIONS = 32


def client(service: str, endpoint_url: str | None = None) -> Any:
    """Return a client; without an endpoint only moto may answer it."""
    session = boto3.session.Session(_ACCESS_KEY, _SECRET_KEY, region_name=REGION)
    config = Config(max_pool_connections=_MAX_CONNECTIONS, retries={"mode": "standard", "max_attempts": 2})
    return session.client(service, endpoint_url=endpoint_url, config=config)
