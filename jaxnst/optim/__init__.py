"""Optimizers of an image as compiled loops, and how several devices share them."""
