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


class AccessKey(NamedTuple):
    """An access key without a session."""

    access_key: str
    secret_key: str
    token: str | None = None

    @classmethod
    def of_local_target(cls, access_key: str) -> AccessKey:
        """The local target's own: its id is the secret, and its signature is not checked."""
        return cls(access_key, access_key)


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
