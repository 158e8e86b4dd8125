"""Sun, sky and lamps on what is seen, and the cameras that take the pictures."""
