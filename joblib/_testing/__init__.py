"""Checks that other projects may run against what they build on joblib."""
