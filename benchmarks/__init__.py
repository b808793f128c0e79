"""The benchmarks, a module for each area; `make bench` runs them."""
