"""The `esctl` command."""
