"""What all long work shares: progress, randomness, leases, workers, versions."""
