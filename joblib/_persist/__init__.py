"""What `dump`, `load` and `hash` are made of, one responsibility a file."""
