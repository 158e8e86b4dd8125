"""Worker processes: how many may be asked for, and what ends them that is no defect of the program."""

from __future__ import annotations

import errno

from pipeline.files import InputError

KILLED = "a worker process was killed, perhaps for want of memory; run it again, with fewer --jobs"
#: What torch and OpenCV say of memory that is not there, in errors of no kind of their own.
_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "Insufficient memory")


def check_jobs(jobs: int) -> None:
    """Refuse what is no number of worker processes, nor -1, which is one for each core.

    Raises:
        InputError: it is 0 or below -1.
    """
    if jobs == 0 or jobs < -1:
        raise InputError(f"--jobs {jobs}: give the number of worker processes, or -1 for all cores")


def lacks_memory(error: Exception) -> bool:
    """Whether an error says that the memory of this machine or of its GPU does not suffice."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)
