"""The studio: a run that a person changes while it paints."""
