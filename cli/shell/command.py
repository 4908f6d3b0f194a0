"""What makes a function a command, and a group of commands list by default."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec, TypeVar, get_type_hints

import typer
from typer.core import TyperGroup

from cli.config.selection import Choice
from cli.errors import UsageError
from cli.shell.session import Session
from cli.terminal.environment import Environment
from cli.terminal.output import Format, Output

P = ParamSpec("P")
R = TypeVar("R")

_PANEL = "Target and output"


def _option(type_: Any, name: str, metavar: str | None, help_: str, *more: str) -> Any:
    return Annotated[type_, typer.Option(name, *more, metavar=metavar, help=help_, rich_help_panel=_PANEL)]


_COMMON: dict[str, Any] = {
    "local": _option(bool, "--local", None, "Use the local target."),
    "stack_name": _option(str | None, "--stack-name", "NAME", "Use the stack of this name."),
    "region": _option(str | None, "--region", "REGION", "Use the stack on AWS in this region."),
    "profile": _option(str | None, "--profile", "PROFILE", "Use AWS with the credentials of this profile."),
    "output": _option(str, "--output", "FORMAT", "text or json.", "-o"),
}
_DEFAULTS: dict[str, Any] = {"local": False, "stack_name": None, "region": None, "profile": None, "output": "text"}


def command(
    *formats: Format,
) -> Callable[[Callable[Concatenate[Session, P], R]], Callable[..., R]]:
    """Turn a function whose first parameter is a `Session` into a Typer callback with the common options.

    The formats of its output are by default text and json.

    Examples
    --------
    >>> @command()
    ... def streams(session: Session, limit: Annotated[int, typer.Option("--limit")] = 100) -> None: ...
    """
    allowed = formats or (Format.TEXT, Format.JSON)

    def decorate(function: Callable[Concatenate[Session, P], R]) -> Callable[..., R]:
        @functools.wraps(function)
        def run(context: typer.Context, **options: Any) -> R:
            common = {name: options.pop(name) for name in _COMMON}
            format_ = _format(common.pop("output"), allowed)
            environment: Environment = context.find_object(Environment) or Environment.of_process()
            session = Session(environment, Output(environment, format_), Choice(**common))
            return function(session, **options)  # type: ignore[call-arg]

        _sign(run, function, allowed)
        return run

    return decorate


def _format(text: str, allowed: tuple[Format, ...]) -> Format:
    if text.lower() not in allowed:
        raise UsageError(f"--output can't be {text!r}", f"This command supports {' and '.join(allowed)}.")
    return Format(text.lower())


def _sign(run: Callable[..., Any], function: Callable[..., Any], allowed: tuple[Format, ...]) -> None:
    """Give the wrapper the signature that Typer reads: the context, the function's options, the common options."""
    hints = get_type_hints(function, include_extras=True)
    own = list(inspect.signature(function).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [parameter.replace(annotation=hints[parameter.name], kind=keyword) for parameter in own]
    common = dict(_COMMON)
    if Format.JSONL in allowed:
        common["output"] = _option(str, "--output", "FORMAT", "text, json or jsonl.", "-o")
    parameters += [
        inspect.Parameter(name, keyword, default=_DEFAULTS[name], annotation=annotation)
        for name, annotation in common.items()
    ]
    signature = inspect.Signature([context, *parameters])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [context, *parameters]}
    del run.__wrapped__  # type: ignore[attr-defined] # otherwise inspect would follow it to the bare function


class ListingGroup(TyperGroup):
    """A group whose default subcommand is ``list``: ``esctl projections`` is ``esctl projections list``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((each for each in args if not each.startswith("-")), None)
        completes = ctx.resilient_parsing and not args  # the shell's completion asks for the subcommands
        if first not in self.commands and not completes and not {"--help", "-h"} & set(args):
            args = ["list", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed
