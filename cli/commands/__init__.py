"""One module per command or command group: parse the options, call a feature, render the result."""

from __future__ import annotations

from typing import Annotated

import typer

Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="Show at most N; all by default.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompts.")]

# A fold of several streams that share rows keeps their events in memory: some 600 bytes each.
HISTORY_MAX = 500_000
Full = Annotated[
    bool, typer.Option("--full", help=f"Fold all of the history, even if it has more than {HISTORY_MAX:,} events.")
]
