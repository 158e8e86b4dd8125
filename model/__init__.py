"""Stage two and inference: GIFNet, its training from shards, fusion, metrics and reports."""
