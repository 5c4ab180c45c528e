"""What trainers read beside the images: the list of pairs, and the lines to paste into their options."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

LARGEST_PATCH_PX = 64
"""LR side of a training crop, where the LR images allow it."""

_HEAD = "# Paths are relative to this folder; put its path before them."

_BASICSR = """\
# BasicSR
scale: {scale}
datasets:
  train:
    name: pairs
    type: PairedImageDataset
    dataroot_gt: hr
    dataroot_lq: lr
    meta_info_file: meta_info.txt
    filename_tmpl: '{{}}'
    io_backend:
      type: disk
    gt_size: {gt_size}
    use_hflip: true
    use_rot: true
"""

_REDUX = """\
# traiNNer-redux
scale: {scale}
datasets:
  train:
    name: pairs
    type: pairedimagedataset
    dataroot_gt: [hr]
    dataroot_lq: [lr]
    lq_size: {lq_size}
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: 8
    batch_size_per_gpu: 8
    accum_iter: 1
"""

# neosr finds a partner by replacing the text of one root with the other's, in the whole path.
_NEOSR = """\
# neosr (with the folder's path before it: a bare `hr` would be replaced inside file names too)
scale = {scale}

[datasets.train]
type = "paired"
dataroot_gt = "hr"
dataroot_lq = "lr"
patch_size = {lq_size}
batch_size = 8
augmentation = ["none"]
aug_prob = [1.0]
"""


def meta_info(images: Iterable[tuple[str, int, int]]) -> bytes:
    """Return BasicSR's list: `name (height,width,3)`, a line each.

    Args:
        images: file name, width and height in px of each HR image.
    """
    return "".join(f"{name} ({height},{width},3)\n" for name, width, height in images).encode("ascii")


def snippets(trainers: Collection[str], scale: int, smallest_lr_px: int | None) -> Mapping[str, bytes]:
    """Return the option snippets by file name: a YAML file of one document a trainer, and a TOML file.

    Args:
        trainers: of `basicsr`, `redux`, `neosr`.
        scale: HR pixels per LR pixel.
        smallest_lr_px: the shortest side of any LR image, which no training crop may exceed; None without images.
    """
    lq_size = min(LARGEST_PATCH_PX, smallest_lr_px or LARGEST_PATCH_PX)
    sizes = {"scale": scale, "lq_size": lq_size, "gt_size": lq_size * scale}
    documents = [
        text.format(**sizes) for trainer, text in (("basicsr", _BASICSR), ("redux", _REDUX)) if trainer in trainers
    ]
    made: dict[str, bytes] = {}
    if documents:
        made["train_snippet.yaml"] = "---\n".join([f"{_HEAD}\n", *documents]).encode()
    if "neosr" in trainers:
        made["train_snippet.toml"] = f"{_HEAD}\n{_NEOSR.format(**sizes)}".encode()
    return made
