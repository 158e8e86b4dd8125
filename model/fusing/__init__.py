"""What fusing files consists of; :mod:`model.fuse` puts it together."""
