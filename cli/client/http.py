"""HTTP calls to the deployed API: key, signature, retries, lossless numbers, problem documents as errors."""

from __future__ import annotations

import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from cli.client.aws import denial
from cli.config.targets import AccessKey, Target
from cli.errors import AccessError, CliError, ConflictError, NotDeployedError, NotFoundError
from handlers.core.lossless_json import NotJsonError, dumps, loads

if TYPE_CHECKING:
    import urllib3

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 35.0  # API Gateway itself times out after 29
# Four retries of 35 s each stay within the five minutes for which a signature is valid, so a request is signed once.
RETRIES_MAX = 4
BACKOFF_FACTOR_S, BACKOFF_MAX_S = 0.1, 3
# A retry may succeed, and is safe: every POST carries an idempotency key. Other statuses are caused by the request.
RETRYABLE_STATUSES = frozenset({429, 500, 502, 503, 504})
_POOL_SIZE = 16
_EXCERPT_CHARACTERS = 300
_SIGNED_SERVICE = "execute-api"


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful response.

    Attributes
    ----------
    status
        The HTTP status, 200 to 299.
    document
        The parsed body; numbers keep every digit.
    headers
        By lower-case name.
    """

    status: int
    document: Any
    headers: Mapping[str, str]

    @property
    def replayed(self) -> bool:
        """Whether this is the stored answer to an earlier call with the same idempotency key."""
        return self.headers.get("idempotent-replayed", "").lower() == "true"


class HttpClient:
    """The API of one stack. Thread-safe.

    Parameters
    ----------
    key
        The API key; sent with every call, never shown.
    credentials
        Returns what signs the calls, or None for unsigned calls; called at most once.
    sleep
        Waits between retries, in seconds.
    variables
        Environment variables, for the proxy settings.

    Raises
    ------
    NotDeployedError
        The stack has no API.
    """

    def __init__(
        self,
        target: Target,
        key: str,
        credentials: Callable[[], AccessKey | None],
        *,
        sleep: Callable[[float], None],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        if target.api_url is None:
            raise NotDeployedError(f"{target.label} has no API: it is not completely deployed", "Deploy it again.")
        self._target = target
        self._url = target.api_url
        self._key = key
        self._find_credentials = credentials
        self._sleep = sleep
        self._variables = variables or {}

    def get(self, path: str, **query: object) -> Answer:
        """Send a GET; ``path`` is already percent-encoded, and None values are left out of the query.

        Raises
        ------
        CliError
            The API refused the call, failed or is unreachable.
        """
        given = {name: str(value) for name, value in query.items() if value is not None}
        return self._call("GET", f"{path}?{urlencode(given)}" if given else path, b"", {})

    def post(self, path: str, body: object, *, idempotency_key: str | None = None) -> Answer:
        """Send a POST, which takes effect at most once even if it is retried.

        Parameters
        ----------
        body
            Sent as JSON; bytes are sent unchanged.
        idempotency_key
            A random one by default.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._call("POST", path, body if isinstance(body, bytes) else dumps(body).encode(), headers)

    def _call(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        import urllib3

        url = self._url + path
        try:
            response = self._pool.request(
                method, url, body=body or None, headers=self._signed(method, url, body, headers)
            )
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(self._url, error, self._target) from error
        return _checked(response, path)

    def _signed(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
        own = {"Accept": "application/json", "x-api-key": self._key, **headers}
        if self._credentials is None:
            return own
        return signed_headers(method, url, own, body, self._credentials, self._target.region)

    @cached_property
    def _credentials(self) -> AccessKey | None:
        return self._find_credentials()

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        import urllib3

        retries = _retries(self._sleep, self._target.connect_retries_max)
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        proxy = _proxy(self._url, self._variables) if self._target.uses_proxy else None
        if proxy is not None:
            return urllib3.ProxyManager(proxy, retries=retries, timeout=timeout, maxsize=_POOL_SIZE)
        return urllib3.PoolManager(retries=retries, timeout=timeout, maxsize=_POOL_SIZE)


def signed_headers(
    method: str, url: str, headers: Mapping[str, str], body: bytes, credentials: AccessKey, region: str
) -> dict[str, str]:
    """Return the headers with a SigV4 signature (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html)."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    signer: Any = SigV4Auth
    signer(credentials, _SIGNED_SERVICE, region).add_auth(request)
    return dict(request.headers.items())


def _retries(sleep: Callable[[float], None], connect_retries_max: int | None) -> urllib3.Retry:
    import urllib3

    class Retry(urllib3.Retry):
        def sleep(self, response: urllib3.BaseHTTPResponse | None = None) -> None:
            sleep((response and self.get_retry_after(response)) or self.get_backoff_time())

    return Retry(
        RETRIES_MAX,
        connect=connect_retries_max,
        other=0,  # TLS errors do not go away
        redirect=False,
        allowed_methods=None,
        status_forcelist=RETRYABLE_STATUSES,
        backoff_factor=BACKOFF_FACTOR_S,
        backoff_jitter=BACKOFF_FACTOR_S,
        backoff_max=BACKOFF_MAX_S,
        retry_after_max=BACKOFF_MAX_S,
        raise_on_status=False,
    )


def _checked(response: urllib3.BaseHTTPResponse, path: str) -> Answer:
    try:
        text = response.data.decode()
    except UnicodeDecodeError:
        text = ""
    if not 200 <= response.status < 300:
        raise error_of(response.status, text, path.partition("?")[0])
    try:
        document = loads(text) if text else None
    except NotJsonError as error:
        raise CliError(
            f"the API's answer is not JSON: {error}", "Is this the right address? See:  esctl outputs"
        ) from error
    return Answer(response.status, document, {name.lower(): value for name, value in response.headers.items()})


def _unreachable(url: str, error: Exception, target: Target) -> CliError:
    import urllib3

    cause = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
    if isinstance(cause, urllib3.exceptions.SSLError):
        return CliError(f"no secure connection to {url}: {cause}", "Check the proxy and the certificates it uses.")
    return target.unreachable(url)


def _proxy(url: str, variables: Mapping[str, str]) -> str | None:
    """Return the proxy that the environment configures for an address."""
    lowered = {name.lower(): value for name, value in variables.items()}
    parts = urlsplit(url)
    excluded = {"no": lowered.get("no_proxy", "")}
    if urllib.request.proxy_bypass_environment(parts.netloc, excluded):  # type: ignore[attr-defined]
        return None
    return lowered.get(f"{parts.scheme}_proxy") or lowered.get("all_proxy") or None


def error_of(status: int, text: str, path: str) -> CliError:
    """Return the error for an unsuccessful response.

    Parameters
    ----------
    status
        The HTTP status, 300 or more.
    text
        The body: a problem document (RFC 9457), or API Gateway's own ``{"message": …}``.
    """
    document = _problem(text)
    error = _error(status, document, _reason(document, text), path)
    error.status, error.problem = status, document
    return error


def _error(status: int, problem: Mapping[str, Any], reason: str, path: str) -> CliError:
    if status == 403:
        denied = denial(reason)
        if denied is not None:
            return denied
        return AccessError(
            f"the API refused the call: {reason or 'forbidden'}",
            "Is it the key that the stack was deployed with? esctl outputs --show-key shows the one in use.",
        )
    if status == 404:
        return NotFoundError(f"not found: {reason or path}", _list_hint(path))
    if status == 409:
        return ConflictError(
            f"refused: {reason or 'the head is a different one'}", "Read the current state, then decide again."
        )
    if status in (401, 407):
        return AccessError(f"the API requires other credentials: {reason or status}")
    if status < 500:
        return CliError(f"the API refused the request: {reason or status}", faults=_faults(problem))
    identifier = problem.get("instance")
    where = f" (request {identifier})" if identifier else ""
    return CliError(
        f"the API failed with {status}: {reason or 'no reason given'}{where}",
        "The functions' logs may say why:  esctl tail-logs --since 10m",
    )


def _list_hint(path: str) -> str:
    resource = path.strip("/").partition("/")[0]
    lists = {"replays": "esctl replays", "streams": "esctl streams", "projections": "esctl projections"}
    if resource in lists:
        return f"See what there is:  {lists[resource]}"
    return "Is the stack still deployed, and with this version? See:  esctl status"


def _problem(text: str) -> Mapping[str, Any]:
    try:
        document = loads(text)
    except NotJsonError:
        return {}
    return document if isinstance(document, dict) else {}


def _reason(problem: Mapping[str, Any], text: str) -> str:
    faults = problem.get("errors")
    if isinstance(faults, list) and faults:  # they are listed one by one; the detail would only repeat them
        return str(problem.get("title", "")).lower()
    for name in ("detail", "title", "message", "Message"):
        if problem.get(name):
            return str(problem[name])
    return "" if problem else text.strip()[:_EXCERPT_CHARACTERS]


def _faults(problem: Mapping[str, Any]) -> list[str]:
    faults = problem.get("errors")
    listed = [_fault(fault) for fault in faults if isinstance(fault, dict)] if isinstance(faults, list) else []
    omitted = problem.get("errorsOmitted")
    return [*listed, f"and {omitted} more"] if omitted else listed


def _fault(fault: Mapping[str, Any]) -> str:
    elsewhere = f"{fault.get('in')} {fault['name']}" if fault.get("name") else "the body"
    return f"{fault.get('pointer') or elsewhere}: {fault.get('detail', 'is wrong')}"
