"""Commands of stage two."""
