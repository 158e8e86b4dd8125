"""The interface between the stages: the HDF5 format, datasets in it, and looking into them."""
