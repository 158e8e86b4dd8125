"""The last step for a trained pyramid head: its cue weights, set by the metrics that it is judged by."""
