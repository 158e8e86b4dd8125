"""The parts of GIFNet, named after the paper's blocks, and the heads that make the fused plane."""
