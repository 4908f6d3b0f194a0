"""What every other package of handlers may import; it imports none of them."""
