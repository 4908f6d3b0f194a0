"""What the tests share: the emulator, tables, fakes, and ports that count, fail or wait."""
