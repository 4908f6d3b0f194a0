"""A command group that lists when nothing more is said: ``esctl projections`` is ``esctl projections list``."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

_HELP = {"--help", "-h"}


class ListingGroup(TyperGroup):
    """Puts ``list`` in front of what is no subcommand's name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((each for each in args if not each.startswith("-")), None)
        # The shell's completion asks with nothing behind the group's name: it wants the subcommands.
        completes = ctx.resilient_parsing and not args
        if first not in self.commands and not completes and not _HELP & set(args):
            args = ["list", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed
