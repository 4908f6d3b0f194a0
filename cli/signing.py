"""SigV4 for calls to the API (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Credentials(Protocol):
    """What calls are signed with; botocore's own `ReadOnlyCredentials` fit."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


class MadeUpCredentials(NamedTuple):
    """For the local target: what the emulator takes for its administrator, whose signature it does not check."""

    access_key: str = "test"
    secret_key: str = "test"  # noqa: S105
    token: str | None = None


SERVICE = "execute-api"


def signed_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    credentials: Credentials,
    region: str,
) -> dict[str, str]:
    """The headers, with those that sign the call."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    signer: Any = SigV4Auth
    signer(credentials, SERVICE, region).add_auth(request)
    return dict(request.headers.items())
