"""The client of the deployed API: key, signature, retries, exact numbers."""

from __future__ import annotations

import random
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from cli.errors import CliError, NotDeployedError
from cli.problems import error_of
from cli.signing import Credentials
from cli.targets import Target
from handlers.exactjson import NotJson, dumps, loads

if TYPE_CHECKING:
    import urllib3

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 35.0  # API Gateway itself gives up after 29
_ATTEMPTS_MAX = 5
_PAUSE_FIRST_S = 0.1
_PAUSE_MAX_S = 3.0
# Others come from the request itself, and a repetition changes nothing.
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
_POOL_SIZE = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer.

    Attributes
    ----------
    status
        The HTTP status, 200 to 299.
    document
        The parsed body; numbers with all their digits.
    headers
        By lower-case name.
    """

    status: int
    document: Any
    headers: Mapping[str, str]

    @property
    def replayed(self) -> bool:
        """It is the answer to an earlier call with the same idempotency key."""
        return self.headers.get("idempotent-replayed", "").lower() == "true"


class Api:
    """Calls the API of one stack.

    Parameters
    ----------
    target
        Where the API is.
    key
        The API key; sent with every call, shown in no message.
    credentials
        What calls are signed with; called once, and None means unsigned.
    sleep
        Waits between attempts, in seconds.
    variables
        Environment variables, for the proxy; not looked at on the local target.
    """

    def __init__(
        self,
        target: Target,
        key: str,
        credentials: Callable[[], Credentials | None],
        *,
        sleep: Callable[[float], None],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        if target.api_url is None:
            raise NotDeployedError(f"{target.label} has no API: it is not deployed completely", "Deploy it again.")
        self._target = target
        self._url = target.api_url
        self._key = key
        self._find_credentials = credentials
        self._sleep = sleep
        self._variables = variables or {}

    def get(self, path: str, **query: object) -> Answer:
        """Read something; ``path`` as in ``/listTestItems``, already quoted. None values are left out of the query.

        Raises
        ------
        CliError
            As the answer's status demands, or nobody answers.
        """
        given = {name: str(value) for name, value in query.items() if value is not None}
        return self._call("GET", f"{path}?{urlencode(given)}" if given else path, b"", {})

    def post(self, path: str, body: object, *, idempotency_key: str | None = None) -> Answer:
        """Write something; it takes effect once, however often the network makes us repeat it.

        Parameters
        ----------
        body
            Sent as JSON; bytes are JSON already.
        idempotency_key
            Made up where it is missing.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        text = body if isinstance(body, bytes) else dumps(body).encode()
        return self._call("POST", path, text, headers)

    def _call(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        import urllib3

        url = self._url + path
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            last = attempt == _ATTEMPTS_MAX
            try:
                # Signed anew each time: a signature is good for five minutes only.
                answer = self._pool.request(
                    method, url, body=body or None, headers=self._signed(method, url, body, headers)
                )
            except urllib3.exceptions.HTTPError as error:
                if last or not _passing(error, self._target):
                    raise _unreachable(self._url, error, self._target) from error
                self._sleep(_pause(attempt))
                continue
            if answer.status in _PASSING_STATUSES and not last:
                self._sleep(_pause(attempt, answer.headers.get("Retry-After")))
                continue
            return _checked(answer, path)
        raise AssertionError("the last attempt returns or raises")

    def _signed(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        own = {"Accept": "application/json", "x-api-key": self._key, **headers}
        if self._credentials is None:
            return own
        from cli.signing import signed_headers

        return signed_headers(method, url, own, body, self._credentials, self._target.region)

    @cached_property
    def _credentials(self) -> Credentials | None:
        return self._find_credentials()

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        import urllib3

        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        proxy = None if self._target.is_local else _proxy(self._url, self._variables)
        if proxy is not None:
            return urllib3.ProxyManager(proxy, retries=False, timeout=timeout, maxsize=_POOL_SIZE)
        return urllib3.PoolManager(retries=False, timeout=timeout, maxsize=_POOL_SIZE)


def _checked(answer: urllib3.BaseHTTPResponse, path: str) -> Answer:
    try:
        text = answer.data.decode()
    except UnicodeDecodeError:
        text = ""
    if not 200 <= answer.status < 300:
        raise error_of(answer.status, text, path.partition("?")[0])
    try:
        document = loads(text) if text else None
    except NotJson as error:
        raise CliError(
            f"the API's answer is not JSON: {error}", "Is it the right address? See:  esctl outputs"
        ) from error
    return Answer(answer.status, document, {name.lower(): value for name, value in answer.headers.items()})


def _pause(attempt: int, retry_after: str | None = None) -> float:
    """Seconds to wait: full jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)."""
    if retry_after is not None and retry_after.isdecimal():
        return min(float(retry_after), _PAUSE_MAX_S) + random.uniform(0, _PAUSE_FIRST_S)  # noqa: S311
    return random.uniform(0, min(_PAUSE_MAX_S, _PAUSE_FIRST_S * 2**attempt))  # noqa: S311 - no secret


def _passing(error: Exception, target: Target) -> bool:
    """Whether another attempt may succeed; on the local target nobody at the port means that it is down."""
    import urllib3

    if isinstance(error, urllib3.exceptions.SSLError):
        return False
    return not (target.is_local and isinstance(error, urllib3.exceptions.NewConnectionError))


def _unreachable(url: str, error: Exception, target: Target) -> CliError:
    import urllib3

    if isinstance(error, urllib3.exceptions.SSLError):
        return CliError(f"no secure connection to {url}: {error}", "Check the proxy and the certificates it brings.")
    from cli.aws import unreachable

    return unreachable(url, target)


def _proxy(url: str, variables: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for an address."""
    lowered = {name.lower(): value for name, value in variables.items()}
    parts = urlsplit(url)
    excluded = {"no": lowered.get("no_proxy", "")}
    if urllib.request.proxy_bypass_environment(parts.netloc, excluded):  # type: ignore[attr-defined]
        return None
    return lowered.get(f"{parts.scheme}_proxy") or lowered.get("all_proxy") or None
