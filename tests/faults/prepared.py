"""Import all that a run of tests/faults/worlds.py needs, in the process from which runs to be killed are forked."""

from __future__ import annotations

import importlib

from PIL import Image

from forge_pipeline.fingerprint import packages_digest
from forge_pipeline.kernel_cache import place_kernel_cache, ready_compiler

place_kernel_cache()  # numba looks for it when kernels are defined
for _name in (
    "forge_pipeline.api",
    "forge_pipeline.cli.main",
    "forge_pipeline.cli.run",
    "forge_pipeline.executors.inline",
    "forge_pipeline.graph",
    "forge_pipeline.kept_plan",
    "forge_pipeline.lock",
    "forge_pipeline.manifest",
    "forge_pipeline.profile",
    "forge_pipeline.publish",
    "forge_pipeline.recipe_graph",
    "forge_pipeline.run.scheduler",
    "forge_pipeline.session",
    "forge_steps._colour",
    "forge_steps._pixels",
    "forge_steps._png_kernel",
    "forge_steps.augment.deterministic",
    "forge_steps.dedup.perceptual",
    "forge_steps.export.pairs",
    "forge_steps.filter.iqa",
    "forge_steps.kernels",
    "forge_steps.read.images",
    "forge_steps.resize.dpid",
    "forge_steps.tile.best",
    "PIL.ImageCms",
    "concurrent.futures.thread",
    "cv2",
    "networkx",
    "psutil",
    "scipy.linalg",
):
    importlib.import_module(_name)
Image.init()
ready_compiler()
packages_digest()
