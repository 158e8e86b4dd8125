"""The places that a scene can be."""
