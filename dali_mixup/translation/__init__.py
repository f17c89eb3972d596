"""The tables behind `from_torchvision`."""
