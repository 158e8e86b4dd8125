"""Solids, cameras and rays: which point of which solid a pixel sees."""
