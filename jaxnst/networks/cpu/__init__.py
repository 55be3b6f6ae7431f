"""Convolutions and products that are fast on CPUs, with gradients that stay fast in loops."""
