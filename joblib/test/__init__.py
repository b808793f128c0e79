"""The tests of the package; they are not part of what is installed."""
