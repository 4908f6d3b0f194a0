"""boto3 clients for the tests: of an emulator or of moto."""

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

from tests.support.emulator import ACCESS_KEY, REGION

# Enough for the contract's 16 writers at once.
_CONFIG = Config(max_pool_connections=32, retries={"mode": "standard", "max_attempts": 2})


def client(service: str, endpoint_url: str | None = None, access_key: str = ACCESS_KEY) -> Any:
    """Return a client, by default with the credentials of the tests' emulator; without an endpoint only moto may answer."""
    return _session(for_moto=endpoint_url is None).client(
        service,
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=access_key,
        region_name=REGION,
        config=_CONFIG,
    )


@cache
def _session(*, for_moto: bool) -> boto3.session.Session:
    """Return the one session of all tests: each one reads the models of services again, 0.1 s each."""
    if for_moto:
        import moto.core.models  # noqa: F401 - it answers only sessions that are made after its import
    return boto3.session.Session()
