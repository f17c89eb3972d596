"""What comes when, as functions of (seed, epoch, position): order, windows, flips, weights. And a run's state."""
