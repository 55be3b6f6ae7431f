"""Statistics of feature maps, distances between them, and the objective made of them.

Pure functions of arrays: nothing here reads a file or keeps state.
"""
