"""What reading a dataset of an HDF5 file costs, whatever the file says."""

from __future__ import annotations

import math
import zlib

import h5py

#: Deflate packs no better (RFC 1951: 258 bytes in two bits).
MAX_DEFLATE_RATIO = 1032
#: HDF5 reads chunks as a whole: what it may need for one beside the dataset itself.
_MAX_CHUNK_BYTES = 1 << 28


def reads_more_than_it_holds(dataset: h5py.Dataset) -> bool:
    """Whether a chunk, of which HDF5 inflates all that is in it, takes far more memory than the dataset.

    Raises:
        OSError, zlib.error: a chunk is damaged.
    """
    if dataset.chunks is None:
        return False
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(place)[0] for place in range(plist.get_nfilters())]
    size = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if len(set(filters)) < len(filters) or size > max(_MAX_CHUNK_BYTES, dataset.nbytes):
        return True
    if h5py.h5z.FILTER_DEFLATE not in filters:
        return False
    large: list[tuple[int, ...]] = []

    def add_large(chunk: h5py.h5d.StoreInfo) -> None:
        if chunk.size > _MAX_CHUNK_BYTES // MAX_DEFLATE_RATIO:
            large.append(chunk.chunk_offset)

    dataset.id.chunk_iter(add_large)
    most = size + 4  # a checksum may be packed too
    for place in large:
        _, stored = dataset.id.read_direct_chunk(place)
        if len(zlib.decompressobj().decompress(stored, most + 1)) > most:
            return True
    return False
