"""Which images belong together, and how they are read for the network."""
