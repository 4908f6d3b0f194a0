"""The local target: an emulator of AWS in a background process, on the loopback address only."""

from cli.emulator.emulator import Emulator, Status

__all__ = ["Emulator", "Status"]
