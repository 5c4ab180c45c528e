# A paired x4 super-resolution dataset: photographs and a video in, hr/ and lr/ out.
#
#   forge-run recipes/sr_dataset.hcl
#   forge-run recipes/sr_dataset.hcl --set vars.photos=DIR --set vars.videos=DIR    # your own pictures
#   forge-run recipes/sr_dataset.hcl --set steps.lr.with.lambda=0.7                 # change one value, re-run what it changes
#
# The same recipe in two other spellings: sr_dataset.yaml and sr_dataset.json. All three give the same dataset.
forge       = 1
name        = "sr_dataset"
description = "Paired x4 dataset from photographs and video, cleaned, without near-duplicates, downscaled by DPID"
seed        = 20261120 # of every random draw: the same seed gives the same dataset

vars {
  # Folders, files, globs or archives; relative paths start in the folder where the command runs.
  # These photographs come with the scikit-image package (public domain, and CC0).
  photos = [
    "package:skimage/data/astronaut.png",
    "package:skimage/data/rocket.jpg",
    "package:skimage/data/retina.jpg",
    "package:skimage/data/hubble_deep_field.jpg",
    "package:skimage/data/coffee.png",
    "package:skimage/data/chelsea.png",
  ]
  videos  = "recipes/media/panned.mp4"
  scale   = 4            # HR pixels per LR pixel
  tile_px = 256          # side of an HR image; a multiple of scale
  output  = "output/sr_x4"
}

defaults {
  on_error   = "quarantine" # a broken file is set aside and told of; "stop" ends the run at the first
  max_errors = "1%"         # more than this in one step, and nothing is exported
}

# In a step, every attribute that is no key of a step (use, from, note, ...) is a parameter of the operator.
step "photos" {
  use  = "read.images"
  path = var.photos
}

step "videos" {
  use  = "read.videos"
  path = var.videos
}

step "frames" {
  note           = "A frame is taken when it differs enough from the last one that was taken."
  use            = "video.frames"
  from           = step.videos
  select         = "diff"
  min_difference = 0.04
}

step "tiles" {
  note           = "The most detailed squares of each image; a plain sky teaches a network nothing."
  use            = "tile.best"
  from           = [step.photos, step.frames]
  size_px        = var.tile_px
  max_tiles      = 4
  min_complexity = 0.01
}

step "clean" {
  note = "Changing a threshold here measures nothing again."
  use  = "filter.iqa"
  from = step.tiles
  keep = "blockiness < 30 and laplacian > 0.004"
}

step "unique" {
  use               = "dedup.perceptual"
  from              = step.clean
  max_distance_bits = 8 # of 64
  keep              = "sharpest"
}

step "hr" {
  use      = "augment.deterministic"
  from     = step.unique
  variants = 2
  geometry = "dihedral" # turned by quarters and mirrored: no pixel is interpolated
  preset   = "none"
}

step "lr" {
  use    = "resize.dpid"
  from   = step.hr
  scale  = var.scale
  lambda = 0.5 # 0 is a plain average, 1 keeps the most detail
}

step "pairs" {
  use   = "export.pairs"
  from  = { hr = step.hr, lr = step.lr }
  path  = var.output
  scale = var.scale
}
