"""One module per way to feed a model, each written as its own documentation recommends; all take the same `Feed`."""
