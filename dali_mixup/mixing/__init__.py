"""MixUp, CutMix and what consumes their targets, for any loader."""
