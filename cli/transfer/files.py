"""Files of events: ``-`` for standard streams, gzip, and atomic replacement."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO, cast

from cli.errors import CliError, UsageError
from cli.terminal.environment import Environment
from cli.terminal.text import visible_lines

STANDARD = "-"
# An event has at most 400 KB; with every character escaped it is six times as large.
LINE_BYTES_MAX = 4 * 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1024 * 1024


class BadLineError(Exception):
    """A line that can't be imported, with all its faults, and its number from 1; 0 if unknown."""

    def __init__(self, faults: Sequence[str], line: int = 0) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)
        self.line = line


def path_of(environment: Environment, name: str) -> Path:
    """Return the path of a named file, relative to the working directory."""
    return environment.directory / Path(name).expanduser()


@contextmanager
def source(environment: Environment, name: str) -> Iterator[BinaryIO]:
    """Open a file or standard input for reading; gzip data is decompressed.

    A file that can't be opened is a `UsageError`; damaged data a `CliError`, raised while reading.
    """
    with contextlib.ExitStack() as stack:
        raw = _readable(environment.stdin) if name == STANDARD else stack.enter_context(_opened(environment, name))
        packed = raw.peek(2)[:2] == _GZIP_MAGIC
        if not packed and name.endswith(".gz") and raw.peek(1):
            raise UsageError(f"can't read {name}: it is not a gzip file, despite its name", "Rename it.")
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw) if packed else raw)
        except EOFError as error:
            raise CliError(f"{name} is cut off: the end of the compressed data is missing") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise CliError(f"{name} is damaged: {error}") from error


def _opened(environment: Environment, name: str) -> io.BufferedReader:
    try:
        return path_of(environment, name).open("rb")
    except OSError as error:
        raise UsageError(f"can't read {name}: {error.strerror or error}") from error


def lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1; a byte order mark is dropped.

    A line longer than any event can be is a `BadLineError`.
    """
    number = 0
    while raw := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        if len(raw) > LINE_BYTES_MAX:
            raise BadLineError([f"it has more than {LINE_BYTES_MAX:,} bytes, more than any event"], number)
        if number == 1:
            raw = raw.removeprefix(_BOM)
        if raw := raw.strip(b"\r\n\t "):
            yield number, raw


def count_lines(environment: Environment, name: str) -> int | None:
    """Return the number of lines in a file; None if it can be read only once."""
    if name == STANDARD or not path_of(environment, name).is_file():
        return None
    with source(environment, name) as stream:
        number, last = 0, b""
        while block := stream.read(_BLOCK):
            number += block.count(b"\n")
            last = block
    return number + (1 if last and not last.endswith(b"\n") else 0)


class Sink(Protocol):
    """A destination for lines."""

    def write(self, text: bytes, /) -> int: ...

    def flush(self) -> None: ...


@contextmanager
def sink(environment: Environment, name: str) -> Iterator[Sink]:
    """Open standard output, or a file that appears only when it is complete.

    Compressed output depends only on the lines: it contains no name and no time.
    """
    if name == STANDARD:
        environment.stdout.flush()
        buffer = None if environment.stdout_is_terminal else getattr(environment.stdout, "buffer", None)
        stream: Sink = buffer or _TerminalSink(environment.stdout)
        yield stream
        stream.flush()
        return
    path = path_of(environment, name)
    with _written(path, name) as raw:
        if not name.endswith(".gz"):
            yield raw
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed:
            yield packed


@contextmanager
def _written(path: Path, name: str) -> Iterator[BinaryIO]:
    """Write a temporary file that replaces the target at the end; pipes and devices are written directly."""
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as file:
                yield file
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CliError(f"can't write {name}: {error.strerror or error}") from error


def _readable(stream: TextIO) -> io.BufferedReader:
    """Return the binary buffer of a text stream; if it has none, its whole text as bytes."""
    buffer = getattr(stream, "buffer", None)
    if isinstance(buffer, io.BufferedReader):
        return buffer
    return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(stream.read().encode())))


class _TerminalSink:
    """Writes lines with control characters made visible: to a terminal, or a text stream without a buffer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: bytes) -> int:
        return self._stream.write(visible_lines(text.decode()))

    def flush(self) -> None:
        self._stream.flush()
