"""Default weights (safetensors) and their model cards."""
