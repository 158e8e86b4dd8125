"""Surfaces and their textures, computed at every visible point."""
