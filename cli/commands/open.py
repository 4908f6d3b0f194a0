"""`esctl open`: the consoles of a stack."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

import typer

from cli.command import command
from cli.session import Session
from cli.targets import Target


class Page(StrEnum):
    """What can be opened."""

    DASHBOARD = "dashboard"
    API = "api"
    LOGS = "logs"
    TRACES = "traces"


# The console's own domain: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
_DOMAINS = {"cn-": "amazonaws.cn", "us-gov-": "amazonaws-us-gov.com"}


@command()
def open_(
    session: Session,
    page: Annotated[Page, typer.Argument(metavar="PAGE", help="dashboard, api, logs or traces.")],
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Print the address of a page about the stack, and open it in the browser where somebody sits before it.

    The local target has no console: what exists there is said instead.
    """
    import webbrowser

    if session.target.is_local:
        _local(session, page)
        return
    show(session, page, None if no_browser else webbrowser.open)


def show(session: Session, page: Page, browse: Callable[[str], bool] | None) -> None:
    """Print the address of a console page on AWS, and open it where there is a terminal."""
    dashboard = _dashboard(session) if page is Page.DASHBOARD else None
    url = console_url(session.target, page, dashboard)
    if not session.output.is_text:
        session.output.json({"page": page.value, "url": url})
        return
    session.output.text(url)
    if browse is not None and session.environment.stdout_is_terminal and not browse(url):
        session.output.message("No browser could be started: copy the address.")


def console_url(target: Target, page: Page, dashboard: str | None = None) -> str:
    """The address of a console page.

    Examples
    --------
    >>> console_url(Target("aws", "esctl", "eu-central-1"), Page.TRACES)
    'https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#xray:traces'
    """
    region = target.region
    domain = next((domain for prefix, domain in _DOMAINS.items() if region.startswith(prefix)), "aws.amazon.com")
    console = f"https://{region}.console.{domain}"
    if page is Page.API:
        api = target.outputs.get("ApiId", "")
        return f"{console}/apigateway/main/apis/{api}/resources?api={api}&region={region}"
    fragment = {
        Page.DASHBOARD: f"dashboards/dashboard/{quote(dashboard or '', safe='')}",
        # The console escapes what follows the sign twice, with "$" for "%".
        Page.LOGS: f"logsV2:log-groups$3FlogGroupNameFilter$3D{quote(target.stack_name, safe='')}",
        Page.TRACES: "xray:traces",
    }[page]
    return f"{console}/cloudwatch/home?region={region}#{fragment}"


def _dashboard(session: Session) -> str | None:
    from cli.observe.resources import find_resources

    return find_resources(session.clients, session.target.stack_name).dashboard


def _local(session: Session, page: Page) -> None:
    target = session.target
    exists = {
        Page.DASHBOARD: ("The local target has no dashboard.", "esctl status --watch"),
        Page.API: ("The API is here; it wants the key as x-api-key.", "esctl outputs --show-key"),
        Page.LOGS: (
            "The local target has no console; the functions' logs are in it all the same.",
            "esctl tail-logs -f",
        ),
        Page.TRACES: ("The local target keeps no traces.", "esctl tail-logs --event N --trace"),
    }
    said, instead = exists[page]
    url = target.api_url if page is Page.API else None
    if not session.output.is_text:
        session.output.json({"page": page.value, "url": url, "instead": instead})
        return
    if url is not None:
        session.output.text(url)
    session.output.message(said)
    session.output.hint(instead)
