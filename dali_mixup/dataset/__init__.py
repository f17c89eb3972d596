"""Which images there are: paths, labels, classes, and what their headers say."""
