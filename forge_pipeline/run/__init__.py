"""The scheduler: decide, submit, record, announce; the only writer of results."""

from forge_pipeline.run.scheduler import RunSettings, Scheduler

__all__ = ["RunSettings", "Scheduler"]
