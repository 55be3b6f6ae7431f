"""The studio: a page on which a person paints with the optimizer.

``painting`` is a run that can be changed while it is painted, ``session`` holds what is worked on,
``versions`` what is kept of it, ``controls`` describes the controls of the page, and ``server``
offers all of that over HTTP, with the files of ``page``.
"""
