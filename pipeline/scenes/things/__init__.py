"""What places are furnished with."""
