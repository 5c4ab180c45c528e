"""What an operator does becomes a result: its refusals, its broken samples and its values are all data."""

from __future__ import annotations

import errno
from collections.abc import Callable

from forge_pipeline.cache.store import PayloadMissing
from forge_pipeline.digest import canonical_json
from forge_pipeline.errors import BrokenPromise, DataError, EnvironmentFault, Reject
from forge_pipeline.files import NAMELESS
from forge_pipeline.sample import Json
from forge_pipeline.step import Operator
from forge_pipeline.task import Result

_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENOMEM)


def guarded(run: Callable[[], Result]) -> Result:
    """Turn what an operator does into a result: a refusal, a broken sample, or what it gave.

    Data errors last. An exception nobody foresaw breaks the sample but is not recorded: the next run tries again.
    """
    try:
        return run()
    except Reject as reject:
        return Result("reject", reason=reject.reason, values=reject.values)
    except DataError as error:
        return Result("failure", reason=error.reason, message=str(error).removeprefix(f"{NAMELESS}: "))
    except (PayloadMissing, EnvironmentFault, BrokenPromise, MemoryError):
        raise
    except OSError as error:
        if error.errno in _MACHINE:
            raise EnvironmentFault(f"{error.filename or 'a worker'}: {error.strerror}") from error
        return Result("failure", reason="unreadable", message=str(error), lasting=False)
    except Exception as error:  # noqa: BLE001 - other people's code: one sample breaks, the run goes on
        return Result("failure", reason="broke", message=f"{type(error).__name__}: {error}", lasting=False)


def json_of(operator: Operator, value: Json) -> Json:
    """Check that what an operator gave is a JSON value. Raises BrokenPromise."""
    try:
        canonical_json(value).encode()
    except (TypeError, ValueError) as error:
        raise BrokenPromise(f"operator '{operator.name}' gave {value!r}, which is no JSON value: {error}") from error
    return value
