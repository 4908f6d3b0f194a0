"""boto3 clients for the tests: of an emulator or of moto."""

from typing import Any

import boto3
from botocore.config import Config

from tests.support.emulator import ACCESS_KEY, REGION

# Enough for the contract's 16 writers at once.
_MAX_CONNECTIONS = 32


def client(service: str, endpoint_url: str | None = None, access_key: str = ACCESS_KEY) -> Any:
    """Return a client, by default with the credentials of the tests' emulator; without an endpoint only moto may answer."""
    session = boto3.session.Session(access_key, access_key, region_name=REGION)
    config = Config(max_pool_connections=_MAX_CONNECTIONS, retries={"mode": "standard", "max_attempts": 2})
    return session.client(service, endpoint_url=endpoint_url, config=config)
