"""Generated requests, good and bad, against the deployed API: no 5xx, and no answer that the contract doesn't name."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from handlers.api import openapi
from handlers.api.routes import all_routes
from handlers.domain import registry
from tests.e2e.support import Stack

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 12  # of each operation: the whole takes well under a minute

schema = schemathesis.openapi.from_dict(openapi.document(all_routes(registry().values())))


@schema.parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_of_the_contract(case: schemathesis.Case[Any], stack: Stack) -> None:
    case.call_and_validate(
        base_url=stack.outputs["ApiUrl"], headers={"x-api-key": stack.api_key}, checks=CHECKS, timeout=35
    )
