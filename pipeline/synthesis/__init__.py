"""From a plan to a finished dataset: work units, who makes them, and their account."""
