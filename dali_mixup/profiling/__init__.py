"""Whether a training waits for its data, and why."""
