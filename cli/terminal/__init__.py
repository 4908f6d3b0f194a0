"""Terminal input and output: environment, output, tables, text."""
