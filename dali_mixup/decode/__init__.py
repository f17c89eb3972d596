"""Planned batches through DALI, and what happens to files that it can't decode."""
