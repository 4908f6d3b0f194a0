"""A fingerprint of a projection's code: its syntax tree, and those of the modules of the domain that it imports."""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers import catalogue


def fingerprint(
    settings: str, module: str, functions: Iterable[Callable[..., Any]], event_types: Collection[str]
) -> str:
    """Return 16 hex digits that change with the code, but not with its formatting, comments and docstrings.

    The code is that of the module, of every module of the same package that it imports, directly or not, and of the
    upcasters of its event types, which change how history is folded. It is read from files, so it does not depend on what
    was imported so far, nor on the version of Python.

    Parameters
    ----------
    settings
        What else the rows depend on.
    module
        The name of the module that defines the projection.
    functions
        The handlers and key functions: other modules of the package may have defined them.
    """
    package = _Package.of(module)
    upcasting: set[str] = set()
    others: set[tuple[str, int]] = set()
    for (event_type, _), step in catalogue.upcasters().items():
        if event_type in event_types:
            upcasting.add(step.__module__)
        elif (code := getattr(step, "__code__", None)) is not None:
            others.add((step.__module__, code.co_firstlineno))
    defining = {name for name in map(_defined_in, functions) if package.file(name) is not None}
    pending = [module, *upcasting, *defining]
    texts: dict[str, str] = {}
    while pending:
        name = pending.pop()
        path = package.file(name) or _loaded_from(name)
        if name in texts or path is None:
            continue
        tree = ast.parse(path.read_bytes())
        tree.body = [node for node in tree.body if (name, _first_line(node)) not in others]
        texts[name] = "".join(_text(tree))
        pending += package.imported(tree, name, is_package=path.name == "__init__.py")
    parts = [settings, *(f"{package.relative(name)}\n{text}" for name, text in sorted(texts.items()))]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Package:
    """The package of a projection's module: its name ("" if there is none) and its directory."""

    name: str
    directory: Path | None

    @classmethod
    def of(cls, module: str) -> _Package:
        path = _loaded_from(module)
        if path is not None:
            path = path.parent.parent if path.name == "__init__.py" else path.parent
        return cls(module.rpartition(".")[0], path)

    def relative(self, module: str) -> str:
        """Return a module's name within the package: the same code may be loaded as another package."""
        return module.removeprefix(f"{self.name}.")

    def file(self, module: str) -> Path | None:
        """Return the source file of a module of the package; None for other modules."""
        if self.directory is None:
            return None
        if module == self.name:
            return _existing(self.directory / "__init__.py")
        if not module or (self.name and not module.startswith(f"{self.name}.")):
            return None
        path = self.directory.joinpath(*self.relative(module).split("."))
        return _existing(path.with_name(f"{path.name}.py")) or _existing(path / "__init__.py")

    def imported(self, tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
        """Yield the modules of the package that a module imports, with the packages that contain them."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parts = module.split(".")
                    base = ".".join([*parts[: len(parts) - node.level + is_package], *filter(None, [base])])
                submodules = [f"{base}.{alias.name}" for alias in node.names]
                names = [each if self.file(each) is not None else base for each in submodules]
            else:
                continue
            for name in names:
                while self.file(name) is not None:
                    yield name
                    name = name.rpartition(".")[0]
                    if name == self.name:
                        break


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _loaded_from(module: str) -> Path | None:
    """Return the source file of a loaded module; None if it was defined interactively."""
    path = getattr(sys.modules.get(module), "__file__", None)
    return Path(path) if path and path.endswith(".py") else None


def _defined_in(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__module__", None) or ""


def _first_line(node: ast.stmt) -> int | None:
    """Return the first line of a function, its decorators included, as its code object has it."""
    if not isinstance(node, ast.FunctionDef):
        return None
    return node.decorator_list[0].lineno if node.decorator_list else node.lineno


def _text(node: object) -> Iterator[str]:
    """Yield a syntax tree as text, without docstrings.

    Not `ast.dump`: what it writes of a field that is empty, or new in a version of Python, depends on that version.
    """
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if name in _IRRELEVANT or value is None or value == []:
                continue
            yield f"{name}="
            yield from _text(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for each in node:
            if not _is_docstring(each):
                yield from _text(each)
                yield ","
        yield "]"
    else:
        yield repr(node)


# Whether a name is read or written follows from its place; `kind` is the prefix of a string.
_IRRELEVANT = {"ctx", "kind", "type_comment", "type_ignores"}


def _is_docstring(node: object) -> bool:
    """Tell whether a statement is only a string; this does not depend on what it describes."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
