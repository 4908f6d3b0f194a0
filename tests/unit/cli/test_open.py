"""`esctl open`: the consoles' addresses."""

from __future__ import annotations

import pytest

from cli.commands.open import Page, console_url, show
from cli.output import Output
from cli.session import Session
from cli.targets import Choice, Target
from tests.unit.cli.cli_driver import Esctl
from tests.unit.cli.fake_api import FakeApi

REGION = "eu-central-1"
OUTPUTS = {"ApiUrl": "https://abc.execute-api.eu-central-1.amazonaws.com/v1", "ApiId": "abc"}
TARGET = Target("aws", "my-stack", REGION, account="123456789012", outputs=OUTPUTS)
CONSOLE = f"https://{REGION}.console.aws.amazon.com"


@pytest.mark.parametrize(
    ("page", "url"),
    [
        (Page.DASHBOARD, f"{CONSOLE}/cloudwatch/home?region={REGION}#dashboards/dashboard/board"),
        (Page.API, f"{CONSOLE}/apigateway/main/apis/abc/resources?api=abc&region={REGION}"),
        (
            Page.LOGS,
            f"{CONSOLE}/cloudwatch/home?region={REGION}#logsV2:log-groups$3FlogGroupNameFilter$3Dmy-stack",
        ),
        (Page.TRACES, f"{CONSOLE}/cloudwatch/home?region={REGION}#xray:traces"),
    ],
)
def test_every_page_has_its_address(page: Page, url: str) -> None:
    assert console_url(TARGET, page, "board") == url


@pytest.mark.parametrize(
    ("region", "domain"), [("cn-north-1", "amazonaws.cn"), ("us-gov-west-1", "amazonaws-us-gov.com")]
)
def test_other_partitions_have_other_domains(region: str, domain: str) -> None:
    url = console_url(Target("aws", "esctl", region), Page.TRACES)

    assert url.startswith(f"https://{region}.console.{domain}/")


@pytest.mark.parametrize(("terminal", "opened"), [(True, 1), (False, 0)])
def test_the_browser_is_opened_only_where_somebody_sits_before_it(esctl: Esctl, terminal: bool, opened: int) -> None:
    esctl.knows(TARGET)
    environment = esctl.environment(terminal=terminal)
    urls: list[str] = []

    show(Session(environment, Output(environment), Choice(region=REGION)), Page.API, lambda url: bool(urls.append(url)))

    assert len(urls) == opened
    assert "/apigateway/" in environment.stdout.getvalue()  # type: ignore[attr-defined]


def test_the_address_is_data(esctl: Esctl) -> None:
    esctl.knows(TARGET)

    result = esctl("open", "api", "--no-browser")

    assert result.lines == [console_url(TARGET, Page.API)]


@pytest.mark.parametrize("page", list(Page))
def test_the_local_target_says_what_there_is_instead(esctl: Esctl, api: FakeApi, page: Page) -> None:
    result = esctl("open", page.value)

    assert result.exit_code == 0
    assert "esctl " in result.stderr
    assert result.stdout.strip() == (api.url if page is Page.API else "")
