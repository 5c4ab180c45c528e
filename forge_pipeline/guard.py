"""What an operator does becomes a result: its refusals, its broken samples and its values are all data."""

from __future__ import annotations

import errno
import linecache
import re
import traceback
from collections.abc import Callable

from forge_pipeline.cache.store import PayloadMissing
from forge_pipeline.digest import canonical_json
from forge_pipeline.errors import BrokenPromise, DataError, EnvironmentFault, Reject, TooLarge
from forge_pipeline.files import NAMELESS
from forge_pipeline.sample import Json
from forge_pipeline.shapes import Operator
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
    except TooLarge as error:
        return Result("failure", reason="too_large", message=str(error), lasting=False)
    except (PayloadMissing, EnvironmentFault, BrokenPromise, MemoryError):
        raise
    except OSError as error:
        if error.errno in _MACHINE:
            raise EnvironmentFault(f"{error.filename or 'a worker'}: {error.strerror}") from error
        return Result("failure", reason="unreadable", message=str(error), lasting=False)
    except Exception as error:  # noqa: BLE001 - other people's code: one sample breaks, the run goes on
        values = {"traceback": traceback_text(error)}
        message = _without_addresses(f"{type(error).__name__}: {error}")
        return Result("failure", reason="broke", message=message, values=values, lasting=False)


def traceback_text(error: BaseException) -> str:
    """Tell where an operator broke, in the same words on every machine.

    Frames are named by module, function and line, never by path; those of the engine are left out, since they differ
    with where a task ran and say nothing of the operator. What caused the error stands before it, as Python has it.
    """
    told = [_one_traceback(error)]
    while (cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        told.append(_one_traceback(cause))
        error = cause
    return _without_addresses("\n\n".join(reversed(told)))


def _one_traceback(error: BaseException) -> str:
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    theirs = [(f, n) for f, n in frames if not f.f_globals.get("__name__", "").startswith("forge_pipeline.")]
    lines = []
    for frame, number in theirs or frames:
        code = frame.f_code
        lines.append(f"  {_module_name(frame.f_globals.get('__name__', '?'))}, line {number}, in {code.co_name}")
        source = linecache.getline(code.co_filename, number).strip()
        lines += [f"    {source}"] if source else []
    return "\n".join([*lines, f"{type(error).__name__}: {error}"])


def _module_name(name: str) -> str:
    """Name the file of a recipe's `import` as its user does: its module is named by a path of this machine."""
    return re.sub(r"^forge_import_(.+)_[0-9a-f]{8}$", r"\1", name)


def _without_addresses(text: str) -> str:
    """Leave out where objects lay in memory: no two runs agree on it."""
    return re.sub(r"\b0x[0-9a-f]{6,16}\b", "0x...", text)


def json_of(operator: Operator, value: Json) -> Json:
    """Check that what an operator gave is a JSON value. Raises BrokenPromise."""
    if type(value) is dict and not value:  # what most give
        return value
    try:
        canonical_json(value).encode()
    except (TypeError, ValueError) as error:
        raise BrokenPromise(f"operator '{operator.name}' gave {value!r}, which is no JSON value: {error}") from error
    return value
