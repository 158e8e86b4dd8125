"""What all networks here share: devices, CUDA graphs, padding, files of tensors, schedules."""
