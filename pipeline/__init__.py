"""Stage one: aligned infrared/visible pairs -> joint multi-task dataset in HDF5 shards."""
