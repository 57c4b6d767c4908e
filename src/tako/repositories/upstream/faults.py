"""Turns exceptions about one repository into failures of that repository.

In: an exception. Out: the failure of that repository alone. Raises errors of the machine again (no room,
no descriptors, a journal that cannot be written), because they concern every repository.
"""

from __future__ import annotations

import errno
from pathlib import PurePath

from tako.errors import MachineError, TakoError, UnexpectedError, WriteFailedError
from tako.system.storage.faults import fault_of

# Not EIO: a checkout may be a link to a disk of its own that fails.
_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def own_failure(error: Exception) -> TakoError:
    """Return the failure of one repository that `error` is.

    Raises `WriteFailedError` or `MachineError` if the machine is at fault.
    """
    if isinstance(error, WriteFailedError):
        raise error
    if isinstance(error, TakoError):
        return error
    if isinstance(error, OSError):
        fault = fault_of(error)
        if fault is not None and error.errno in _MACHINE:
            raise fault from error
        told = f"{error.filename or 'a file'} cannot be used: {error.strerror or error}"
        return MachineError(fault.message if fault else told)
    return UnexpectedError(f"a bug in tako, or in a library that it uses: {_told(error)}; please report it")


def _told(error: Exception) -> str:
    """The error and its place: a failed child has no traceback."""
    message = f"{type(error).__name__}: {error}"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None:
        return message
    return f"{message} ({PurePath(place.tb_frame.f_code.co_filename).name}, line {place.tb_lineno})"
