"""Configuration and state: settings, state directory, keys, targets."""
