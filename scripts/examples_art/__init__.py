"""Renderers of the example pictures: one module per picture, and what they share.

Everything is computed from seeds with NumPy; Pillow only writes the files. Colors are linear
light inside the landscape and sRGB elsewhere; arrays are float32, rows first, RGB last.
"""
