"""What is recorded of traced runs, and the pictures that are made of it."""
