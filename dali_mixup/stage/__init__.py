"""Decoded windows to batches: resize, transforms, mixing, normalization, cast and layout."""
