"""What happens to finished images: planned as data, carried out in torch as Pillow computes it."""
