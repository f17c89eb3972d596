"""Which part of an image is read, and what becomes of it: windows from sizes and random numbers. No pixels."""
