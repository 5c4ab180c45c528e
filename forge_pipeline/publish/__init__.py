"""How an export reaches its folder: all of it or nothing, and never anybody else's file."""

from forge_pipeline.publish.compare import Changes, changes, still_published
from forge_pipeline.publish.model import Content, OpenPayload, PayloadDamaged, Publication, Published
from forge_pipeline.publish.publication import publish, recover
from forge_pipeline.publish.where import check_export_paths

__all__ = [
    "Changes",
    "Content",
    "OpenPayload",
    "PayloadDamaged",
    "Publication",
    "Published",
    "changes",
    "check_export_paths",
    "publish",
    "recover",
    "still_published",
]
