"""What is configured and remembered: settings, state directory, keys, targets."""
