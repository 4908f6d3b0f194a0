"""What a person sees and types: the environment, output, tables, text."""
