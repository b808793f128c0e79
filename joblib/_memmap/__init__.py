"""Arrays passed to worker processes by file instead of by copy."""
