"""The shell of every command: entry point, app, command table, session."""
