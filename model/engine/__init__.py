"""How a pair passes through the network, exactly: in strips on a CPU, in few launches on a GPU."""
