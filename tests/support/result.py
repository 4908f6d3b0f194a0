"""What one run of esctl left behind."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Result:
    """Exit code and output; `json` and `json_lines` keep all digits of numbers."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as one JSON document."""
        return json.loads(self.stdout, parse_float=Decimal)

    @property
    def json_lines(self) -> list[Any]:
        """Standard output as JSON Lines."""
        return [json.loads(line, parse_float=Decimal) for line in self.lines]

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    def ok(self) -> Result:
        """This result, where all went well; else the test fails with what was said."""
        assert self.exit_code == 0, f"exit code {self.exit_code}\n{self.stdout}\n{self.stderr}"
        return self
