"""What a command reads from its user and shows to them."""
