"""Dataset recipes; the grammar is in README.md beside this file."""
