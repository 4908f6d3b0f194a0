"""CloudWatch Logs Live Tail: lines as they are written, without asking again and again. AWS only."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cli.errors import CliError
from cli.logs.lines import RawLine

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient

GROUPS_MAX = (
    10  # of one session: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartLiveTail.html
)


class LiveTail:
    """Sessions over the logs of several functions, as many as it takes; one that times out (3 hours) is begun again.

    Parameters
    ----------
    groups
        ARNs of log groups by function.
    """

    def __init__(self, client: CloudWatchLogsClient, groups: Mapping[str, str]) -> None:
        self._client = client
        self._groups = groups
        self._arrived: queue.Queue[RawLine | CliError | None] = queue.Queue()

    def lines(self, wait_s: float) -> Iterator[RawLine | None]:
        """Yield lines as they come, and None whenever none came for a while.

        Raises
        ------
        CliError
            A session ended for a reason other than its time.
        """
        names = list(self._groups)
        for start in range(0, len(names), GROUPS_MAX):
            lot = {name: self._groups[name] for name in names[start : start + GROUPS_MAX]}
            threading.Thread(target=self._run, args=(lot,), daemon=True).start()
        while True:
            try:
                arrived = self._arrived.get(timeout=wait_s)
            except queue.Empty:
                yield None
                continue
            if isinstance(arrived, CliError):
                raise arrived
            yield arrived

    def _run(self, groups: Mapping[str, str]) -> None:
        """Put the lines of one session after another into the queue; in a thread of its own."""
        from cli.aws import errors

        try:
            while True:
                with errors():
                    answer: Any = self._client.start_live_tail(logGroupIdentifiers=list(groups.values()))
                    for line in session_lines(answer["responseStream"], groups):
                        self._arrived.put(line)
        except CliError as error:
            self._arrived.put(error)
        except Exception as error:  # noqa: BLE001 - the outermost shell of the thread: the main thread must hear of it
            self._arrived.put(CliError(f"the live tail ended: {error}", "Use -f instead."))


def session_lines(stream: Iterable[Mapping[str, Any]], groups: Mapping[str, str]) -> Iterator[RawLine]:
    """Read one session's events.

    Raises
    ------
    CliError
        The session failed; one that only timed out just ends.
    """
    # A session names groups as ACCOUNT:NAME, or by their ARN.
    by_name = {arn.removesuffix(":*").rpartition(":log-group:")[2]: name for name, arn in groups.items()}
    for event in stream:
        if "SessionTimeoutException" in event:
            return
        if "SessionStreamingException" in event:
            reason = event["SessionStreamingException"].get("message", "the stream broke off")
            raise CliError(f"the live tail ended: {reason}", "Begin it again, or use -f.")
        for result in event.get("sessionUpdate", {}).get("sessionResults", ()):
            group = str(result.get("logGroupIdentifier", ""))
            name = group.rpartition(":")[2]
            yield RawLine(
                by_name.get(name, name), int(result["timestamp"]), result["message"], result.get("logStreamName", "")
            )
