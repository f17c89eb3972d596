"""Benchmarks: each is run as `python -m bench.NAME`, prints a table and writes JSON. `--help` shows examples."""
