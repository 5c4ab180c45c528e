"""Recipes that are wrong, each with everything that is told about it, word by word."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_pipeline.errors import RecipeError
from forge_pipeline.recipe.load import load_recipe

YAML = {
    "a_key_of_other_tools": (
        """\
forge: 1
steps:
  photos: {use: read.images, with: {path: photos}}
  hr: {use: tile.best, from: photos, parms: {size_px: 512}}
""",
        """\
recipe.yaml:4:38: unknown key 'parms' in step 'hr'
      hr: {use: tile.best, from: photos, parms: {size_px: 512}}
                                         ^
  hint: did you mean 'with'?""",
    ),
    "a_mistyped_top_key": (
        """\
forge: 1
sede: 7
steps:
  photos: {use: read.images}
""",
        """\
recipe.yaml:2:1: unknown key 'sede' in the recipe
    sede: 7
    ^
  hint: did you mean 'seed'?""",
    ),
    "several_at_once": (
        """\
forge: 1
seed: -1
defaults: {on_error: skip}
steps:
  photos: {use: read.images, note: 3}
  hr: {use: tile.best, from: photo, cash: keep}
""",
        """\
recipe.yaml:2:7: seed is -1, expected at least 0
    seed: -1
          ^
recipe.yaml:3:22: defaults: on_error is "skip", expected "quarantine" or "stop"
    defaults: {on_error: skip}
                         ^
recipe.yaml:5:36: step 'photos': note is 3, expected text
      photos: {use: read.images, note: 3}
                                       ^
recipe.yaml:6:30: step 'hr': 'photo' is no step of this recipe
      hr: {use: tile.best, from: photo, cash: keep}
                                 ^
  hint: did you mean 'photos'?
recipe.yaml:6:37: unknown key 'cash' in step 'hr'
      hr: {use: tile.best, from: photo, cash: keep}
                                        ^
  hint: did you mean 'cache'?""",
    ),
    "a_step_id_twice": (
        """\
forge: 1
steps:
  lr: {use: resize.dpid}
  hr: {use: tile.best}
  lr: {use: resize.area}
""",
        """\
recipe.yaml:5:3: key 'lr' is written twice; the first stands at recipe.yaml:3:3
      lr: {use: resize.area}
      ^
  hint: remove or rename one of the two""",
    ),
    "a_parameter_twice": (
        """\
forge: 1
steps:
  lr:
    use: resize.dpid
    with:
      scale: 4
      lambda: 0.5
      scale: 2
""",
        """\
recipe.yaml:8:7: key 'scale' is written twice; the first stands at recipe.yaml:6:7
          scale: 2
          ^
  hint: remove or rename one of the two""",
    ),
    "no_forge": (
        """\
steps:
  photos: {use: read.images}
""",
        """\
recipe.yaml:1:1: the recipe has no 'forge'
    steps:
    ^
  hint: forge: 1""",
    ),
    "another_forge": (
        """\
forge: 2
steps:
  photos: {use: read.images}
""",
        """\
recipe.yaml:1:8: forge is 2, expected 1
    forge: 2
           ^""",
    ),
    "no_steps": (
        """\
forge: 1
name: empty
""",
        """\
recipe.yaml:1:1: the recipe has no 'steps'
    forge: 1
    ^
  hint: steps: {ID: {use: OPERATOR}}""",
    ),
    "empty_steps": (
        """\
forge: 1
steps: {}
""",
        """\
recipe.yaml:2:8: steps is {}, expected at least 1 entry
    steps: {}
           ^""",
    ),
    "steps_as_a_list": (
        """\
forge: 1
steps:
  - use: read.images
""",
        """\
recipe.yaml:3:3: steps is [{"use": "read.images"}], expected a mapping
      - use: read.images
      ^""",
    ),
    "a_step_that_is_text": (
        """\
forge: 1
steps:
  photos: read.images
""",
        """\
recipe.yaml:3:11: step 'photos' is "read.images", expected a mapping
      photos: read.images
              ^""",
    ),
    "no_use": (
        """\
forge: 1
steps:
  photos: {use: read.images}
  tiles: {from: photos}
""",
        """\
recipe.yaml:4:3: step 'tiles' has no 'use'
      tiles: {from: photos}
      ^
  hint: use: OPERATOR""",
    ),
    "no_operator_name": (
        """\
forge: 1
steps:
  photos: {use: read images}
""",
        """\
recipe.yaml:3:17: step 'photos': use is "read images", expected an operator such as tile.best
      photos: {use: read images}
                    ^""",
    ),
    "an_unknown_input": (
        """\
forge: 1
steps:
  photos: {use: read.images}
  tiles: {use: tile.best, from: [photos, frmes]}
  frames: {use: video.frames}
""",
        """\
recipe.yaml:4:42: step 'tiles': 'frmes' is no step of this recipe
      tiles: {use: tile.best, from: [photos, frmes]}
                                             ^
  hint: did you mean 'frames'?""",
    ),
    "the_same_input_twice": (
        """\
forge: 1
steps:
  photos: {use: read.images}
  tiles: {use: tile.best, from: [photos, photos]}
""",
        """\
recipe.yaml:4:42: step 'tiles': 'photos' comes in twice, expected each step once
      tiles: {use: tile.best, from: [photos, photos]}
                                             ^""",
    ),
    "a_step_from_itself": (
        """\
forge: 1
steps:
  tiles: {use: tile.best, from: tiles}
""",
        """\
recipe.yaml:3:27: step 'tiles' takes from itself
      tiles: {use: tile.best, from: tiles}
                              ^""",
    ),
    "a_circle": (
        """\
forge: 1
steps:
  a: {use: tile.best, from: c}
  b: {use: tile.best, from: a}
  c: {use: tile.best, from: [b, d]}
  d: {use: read.images}
""",
        """\
recipe.yaml:3:23: steps go in a circle: a -> b -> c -> a
      a: {use: tile.best, from: c}
                          ^""",
    ),
    "an_empty_from": (
        """\
forge: 1
steps:
  tiles: {use: tile.best, from: []}
  more: {use: tile.best, from: }
""",
        """\
recipe.yaml:3:33: step 'tiles': from is [], expected a step id, a list of ids, or a mapping of ports to them
      tiles: {use: tile.best, from: []}
                                    ^
recipe.yaml:4:31: step 'more': from is null, expected a step id, a list of ids, or a mapping of ports to them
      more: {use: tile.best, from: }
                                  ^""",
    ),
    "a_port_with_a_number": (
        """\
forge: 1
steps:
  pairs: {use: export.pairs, from: {hr: 3}}
""",
        """\
recipe.yaml:3:41: step 'pairs': from.hr is 3, expected a step id or a list of ids
      pairs: {use: export.pairs, from: {hr: 3}}
                                            ^""",
    ),
    "a_yaml_1_1_boolean": (
        """\
forge: 1
steps:
  photos: {use: read.images}
  tiles: {use: tile.best, from: photos, override: yes}
""",
        """\
recipe.yaml:4:51: step 'tiles': override is "yes", expected true or false
      tiles: {use: tile.best, from: photos, override: yes}
                                                      ^""",
    ),
    "a_wrong_budget": (
        """\
forge: 1
defaults: {max_errors: 1.5}
steps:
  photos: {use: read.images, max_errors: 200%}
""",
        """\
recipe.yaml:2:24: defaults: max_errors is 1.5, expected a count such as 5, or a share such as "1%" or 0.01
    defaults: {max_errors: 1.5}
                           ^
recipe.yaml:4:42: step 'photos': max_errors is "200%", expected a count such as 5, or a share such as "1%" or 0.01
      photos: {use: read.images, max_errors: 200%}
                                             ^""",
    ),
    "a_choice_mistyped": (
        """\
forge: 1
steps:
  photos: {use: read.images, cache: kept, on_error: quarantin}
""",
        """\
recipe.yaml:3:37: step 'photos': cache is "kept", expected "auto", "keep" or "off"
      photos: {use: read.images, cache: kept, on_error: quarantin}
                                        ^
  hint: did you mean 'keep'?
recipe.yaml:3:53: step 'photos': on_error is "quarantin", expected "quarantine" or "stop"
      photos: {use: read.images, cache: kept, on_error: quarantin}
                                                        ^
  hint: did you mean 'quarantine'?""",
    ),
    "unknown_resources": (
        """\
forge: 1
steps:
  photos: {use: read.images, resources: {cpu: 2, memory_bytes: -1}}
""",
        """\
recipe.yaml:3:42: unknown key 'cpu' in 'resources' of step 'photos'
      photos: {use: read.images, resources: {cpu: 2, memory_bytes: -1}}
                                             ^
  hint: did you mean 'cpus'?
recipe.yaml:3:64: step 'photos': resources.memory_bytes is -1, expected more than 0
      photos: {use: read.images, resources: {cpu: 2, memory_bytes: -1}}
                                                                   ^""",
    ),
    "a_var_without_value": (
        """\
forge: 1
vars:
  photos:
steps:
  photos: {use: read.images, with: {path: "${vars.photos}"}}
""",
        """\
recipe.yaml:3:10: var 'photos' has no value
      photos:
             ^
  hint: --set vars.photos=VALUE""",
    ),
    "an_unknown_var": (
        """\
forge: 1
vars: {scale: 4}
steps:
  lr: {use: resize.dpid, with: {scale: "${vars.scal}"}}
""",
        """\
recipe.yaml:4:40: var 'scal' is not in the recipe
      lr: {use: resize.dpid, with: {scale: "${vars.scal}"}}
                                           ^
  hint: did you mean 'scale'?""",
    ),
    "vars_in_a_circle": (
        """\
forge: 1
vars: {a: "${vars.b}", b: "x/${vars.a}"}
steps:
  photos: {use: read.images, with: {path: "${vars.a}"}}
""",
        """\
recipe.yaml:2:11: vars refer to each other in a circle: a -> b -> a
    vars: {a: "${vars.b}", b: "x/${vars.a}"}
              ^""",
    ),
    "a_list_inside_text": (
        """\
forge: 1
vars: {photos: [a, b]}
steps:
  photos: {use: read.images, with: {path: "data/${vars.photos}"}}
""",
        """\
recipe.yaml:4:43: '${vars.photos}' is a list, which cannot stand inside text
      photos: {use: read.images, with: {path: "data/${vars.photos}"}}
                                              ^""",
    ),
    "a_reference_to_nothing": (
        """\
forge: 1
vars: {scale: 4}
steps:
  lr: {use: resize.dpid, with: {scale: "${scale}"}}
""",
        """\
recipe.yaml:4:40: '${scale}' is no reference; expected ${vars.NAME}, ${env:NAME} or ${matrix.NAME}
      lr: {use: resize.dpid, with: {scale: "${scale}"}}
                                           ^
  hint: ${vars.scale}""",
    ),
    "an_environment_variable_that_is_not_set": (
        """\
forge: 1
steps:
  photos: {use: read.images, with: {path: "${env:FORGE_TEST_NOWHERE}/photos"}}
""",
        """\
recipe.yaml:3:43: environment variable 'FORGE_TEST_NOWHERE' is not set
      photos: {use: read.images, with: {path: "${env:FORGE_TEST_NOWHERE}/photos"}}
                                              ^
  hint: export FORGE_TEST_NOWHERE=VALUE""",
    ),
    "the_environment_in_a_key": (
        """\
forge: 1
seed: "${env:HOME}"
vars: {home: "${env:HOME}"}
steps:
  photos: {use: "read.${vars.home}"}
""",
        """\
recipe.yaml:2:7: an environment variable enters 'seed' of the recipe, where it would change the result
    seed: "${env:HOME}"
          ^
  hint: give it by --set
recipe.yaml:5:17: an environment variable enters 'use' of step 'photos', where it would change the result
      photos: {use: "read.${vars.home}"}
                    ^
  hint: give it by --set""",
    ),
    "a_matrix_value_of_no_matrix": (
        """\
forge: 1
steps:
  lr: {use: resize.dpid, with: {scale: "${matrix.scale}"}}
""",
        """\
recipe.yaml:3:40: '${matrix.scale}' stands outside of a step with a matrix
      lr: {use: resize.dpid, with: {scale: "${matrix.scale}"}}
                                           ^
  hint: matrix: {scale: [VALUE, VALUE]}""",
    ),
    "a_broken_matrix": (
        """\
forge: 1
steps:
  lr: {use: resize.dpid, matrix: {kind: [jpeg, jpeg], size: 3}, with: {kind: "${matrix.kind}"}}
  x: {use: export.images, from: "lr[kind=jpeg]"}
""",
        """\
recipe.yaml:3:48: step 'lr': matrix.kind[1] is "jpeg", which stands in the list already
      lr: {use: resize.dpid, matrix: {kind: [jpeg, jpeg], size: 3}, with: {kind: "${matrix.kind}"}}
                                                   ^
recipe.yaml:3:61: step 'lr': matrix.size is 3, expected a list of values
      lr: {use: resize.dpid, matrix: {kind: [jpeg, jpeg], size: 3}, with: {kind: "${matrix.kind}"}}
                                                                ^""",
    ),
    "an_unknown_variant": (
        """\
forge: 1
steps:
  lr: {use: resize.dpid, matrix: {kind: [jpeg, webp]}}
  x: {use: export.images, from: "lr[kind=jpg]"}
  y: {use: export.images, from: "x[kind=jpeg]"}
""",
        """\
recipe.yaml:4:33: step 'x': 'lr[kind=jpg]' is no variant of step 'lr'
      x: {use: export.images, from: "lr[kind=jpg]"}
                                    ^
  hint: did you mean 'lr[kind=jpeg]'?
recipe.yaml:5:33: step 'y': step 'x' has no matrix, so 'x[kind=jpeg]' names no variant
      y: {use: export.images, from: "x[kind=jpeg]"}
                                    ^
  hint: x""",
    ),
    "too_many_variants": (
        """\
forge: 1
vars: {n: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
steps:
  lr: {use: resize.dpid, matrix: {a: "${vars.n}", b: "${vars.n}", c: "${vars.n}"}}
""",
        """\
recipe.yaml:4:26: step 'lr': matrix makes 1,000 steps, expected at most 256
      lr: {use: resize.dpid, matrix: {a: "${vars.n}", b: "${vars.n}", c: "${vars.n}"}}
                             ^""",
    ),
    "numbers_that_are_none": (
        """\
forge: 1
seed: .nan
steps:
  lr: {use: resize.dpid, with: {scale: 1e999, lambda: 99999999999999999999999}}
""",
        """\
recipe.yaml:2:7: .nan is no number that a recipe can hold
    seed: .nan
          ^
  hint: put it in quotes where text is meant
recipe.yaml:4:40: number 1e999 is too large, expected at most 1.7976931348623157e308
      lr: {use: resize.dpid, with: {scale: 1e999, lambda: 99999999999999999999999}}
                                           ^
  hint: put it in quotes where text is meant
recipe.yaml:4:55: integer 99999999999999999999999 does not fit 64 bits
      lr: {use: resize.dpid, with: {scale: 1e999, lambda: 99999999999999999999999}}
                                                          ^
  hint: put it in quotes where text is meant""",
    ),
    "a_merge_key": (
        """\
forge: 1
x-common: &common {use: read.images}
steps:
  photos:
    <<: *common
""",
        """\
recipe.yaml:5:5: merge key '<<' is not part of YAML 1.2
        <<: *common
        ^
  hint: use `include:`, or an alias as a whole value: `with: *common`""",
    ),
    "a_tag": (
        """\
forge: 1
steps:
  photos: {use: !!python/name:os.system read.images}
""",
        """\
recipe.yaml:3:17: tag '!!python/name:os.system' is not taken in a recipe
      photos: {use: !!python/name:os.system read.images}
                    ^
  hint: put a value in quotes to make it text""",
    ),
    "a_tab": (
        """\
forge: 1
steps:
\tphotos: {use: read.images}
""",
        """\
recipe.yaml:3:1: this is no YAML: while scanning for the next token, found character '\\t' that cannot start any token
    \tphotos: {use: read.images}
    ^
  hint: indent with spaces""",
    ),
    "a_colon_in_text": (
        """\
forge: 1
description: pairs: the second try
steps:
  photos: {use: read.images}
""",
        """\
recipe.yaml:2:19: this is no YAML: mapping values are not allowed here
    description: pairs: the second try
                      ^
  hint: put a text that holds ': ' in quotes""",
    ),
    "a_bracket_left_open": (
        """\
forge: 1
steps:
  photos: {use: read.images, with: {path: [a, b}}
""",
        """\
recipe.yaml:3:48: this is no YAML: while parsing a flow sequence, expected ',' or ']', but got '}'
      photos: {use: read.images, with: {path: [a, b}}
                                                   ^""",
    ),
    "a_file_to_include_that_is_not_there": (
        """\
forge: 1
include: [base.yaml]
import: [./my_steps.py]
steps:
  photos: {use: read.images}
""",
        """\
recipe.yaml:2:11: included file 'base.yaml' is not there
    include: [base.yaml]
              ^
recipe.yaml:3:10: import 'my_steps.py' is not there
    import: [./my_steps.py]
             ^""",
    ),
    "a_file_that_includes_itself": (
        """\
forge: 1
include: recipe.yaml
steps:
  photos: {use: read.images}
""",
        """\
recipe.yaml:2:10: files include each other in a circle: recipe.yaml -> recipe.yaml
    include: recipe.yaml
             ^""",
    ),
    "an_override_of_nothing": (
        """\
forge: 1
steps:
  photos: {use: read.images}
  photo: {override: true, use: read.images}
""",
        """\
recipe.yaml:4:3: step 'photo' says 'override: true', and no included recipe has such a step
      photo: {override: true, use: read.images}
      ^
  hint: did you mean 'photos'?""",
    ),
    "a_bad_step_id": (
        """\
forge: 1
vars: {"tile px": 3}
steps:
  my photos: {use: read.images}
""",
        """\
recipe.yaml:2:8: var "tile px" is not made of letters, digits, '_' and '-', a letter first
    vars: {"tile px": 3}
           ^
recipe.yaml:4:3: step id "my photos" is not made of letters, digits, '_' and '-', a letter first
      my photos: {use: read.images}
      ^""",
    ),
}

HCL = {
    "several_at_once": (
        """\
forge = 1
sede  = 7

step "photos" {
  use = "read.images"
}

step "hr" {
  use       = "tile.best"
  from      = [step.photo]
  on_error  = "quarantin"
  resources = { cpu = 2 }
}
""",
        """\
recipe.hcl:2:1: unknown key 'sede' in the recipe
    sede  = 7
    ^
  hint: did you mean 'seed'?
recipe.hcl:10:16: step 'hr': 'photo' is no step of this recipe
      from      = [step.photo]
                   ^
  hint: did you mean 'photos'?
recipe.hcl:11:15: step 'hr': on_error is "quarantin", expected "quarantine" or "stop"
      on_error  = "quarantin"
                  ^
  hint: did you mean 'quarantine'?
recipe.hcl:12:17: unknown key 'cpu' in 'resources' of step 'hr'
      resources = { cpu = 2 }
                    ^
  hint: did you mean 'cpus'?""",
    ),
    "what_a_recipe_does_not_take": (
        """\
forge = 1

step "a" {
  use  = "read.images"
  text = unquoted
  call = max(1, 2)
  loop = [for x in [1, 2] : x]
  when = true ? 1 : 2
  same = 1 == 2
  none = !true
  all  = var.list[*].name
  doc  = <<END
text
END
  bare = "%{ if true }x%{ endif }"
  path = var.a.b
  step = step.a
  odd  = local.x
  back = "\\d"
}
""",
        """\
recipe.hcl:5:10: 'unquoted' is no value; text stands in quotes
      text = unquoted
             ^
  hint: "unquoted"
recipe.hcl:6:10: a function call is not part of a recipe, expected a value, a reference or arithmetic
      call = max(1, 2)
             ^
recipe.hcl:7:10: a for expression is not part of a recipe, expected a value, a reference or arithmetic
      loop = [for x in [1, 2] : x]
             ^
recipe.hcl:8:10: a condition is not part of a recipe, expected a value, a reference or arithmetic
      when = true ? 1 : 2
             ^
recipe.hcl:9:10: '==' is not part of a recipe, expected a value, a reference or arithmetic
      same = 1 == 2
             ^
recipe.hcl:10:10: '!' is not part of a recipe, expected a value, a reference or arithmetic
      none = !true
             ^
recipe.hcl:11:10: a splat is not part of a recipe, expected a value, a reference or arithmetic
      all  = var.list[*].name
             ^
recipe.hcl:12:10: a heredoc is not part of a recipe, expected a value, a reference or arithmetic
      doc  = <<END
             ^
recipe.hcl:15:11: a template directive is not part of a recipe, expected a value, a reference or arithmetic
      bare = "%{ if true }x%{ endif }"
              ^
recipe.hcl:16:10: a path of several names is not part of a recipe, expected a value, a reference or arithmetic
      path = var.a.b
             ^
recipe.hcl:17:10: 'step.a' stands outside of 'from'
      step = step.a
             ^
  hint: from = step.a
recipe.hcl:18:10: 'local.x' is no reference; expected var.NAME, env.NAME, matrix.NAME or step.ID
      odd  = local.x
             ^
recipe.hcl:19:11: '\\d' is no escape
      back = "\\d"
              ^
  hint: \\\\""",
    ),
    "arithmetic": (
        """\
forge = 1

vars {
  name = "x"
}

step "a" {
  use  = "read.images"
  none = 1 / 0
  text = var.name * 2
  big  = 9223372036854775807 * 99
  hex  = var.nam
}
""",
        """\
recipe.hcl:9:10: '/' divides by zero
      none = 1 / 0
             ^
recipe.hcl:10:10: '*' needs two numbers, found "x"
      text = var.name * 2
             ^
recipe.hcl:11:10: the result does not fit an integer of 64 bits
      big  = 9223372036854775807 * 99
             ^
recipe.hcl:12:10: var 'nam' is not in the recipe
      hex  = var.nam
             ^
  hint: did you mean 'name'?""",
    ),
    "a_step_twice": (
        """\
forge = 1

step "a" { use = "read.images" }
step "a" { use = "read.videos" }
""",
        """\
recipe.hcl:4:6: key 'a' is written twice; the first stands at recipe.hcl:3:6
    step "a" { use = "read.videos" }
         ^
  hint: remove or rename one of the two""",
    ),
    "a_parameter_twice": (
        """\
forge = 1

step "a" {
  use  = "read.images"
  path = "x"
  with {
    path = "y"
  }
}
""",
        """\
recipe.hcl:7:5: key 'path' is written twice; the first stands at recipe.hcl:5:3
        path = "y"
        ^
  hint: remove or rename one of the two""",
    ),
    "a_step_without_label": (
        """\
forge = 1

step {
  use = "read.images"
}
""",
        """\
recipe.hcl:3:1: a step is written as a block with its id
    step {
    ^
  hint: step "ID" { use = "OPERATOR" }""",
    ),
    "a_block_of_terraform": (
        """\
forge = 1

variable "photos" {
  default = "x"
}

step "a" { use = "read.images" }
""",
        """\
recipe.hcl:3:1: unknown key 'variable' in the recipe
    variable "photos" {
    ^
  hint: did you mean 'vars'?""",
    ),
    "a_number_of_another_language": (
        """\
forge = 1
seed  = 0x10
""",
        """\
recipe.hcl:2:9: '0x10' is no number, expected decimal digits
    seed  = 0x10
            ^""",
    ),
    "an_open_quote": (
        """\
forge = 1
name  = "sr

step "a" { use = "read.images" }
""",
        """\
recipe.hcl:2:9: this is no HCL: a text has no closing quote on its line
    name  = "sr
            ^""",
    ),
    "an_open_list": (
        """\
forge = 1

step "a" {
  use  = "read.images"
  path = ["a", "b"
}
""",
        """\
recipe.hcl:6:1: this is no HCL: found '}', expected ',' or ']'
    }
    ^""",
    ),
    "an_open_block": (
        """\
forge = 1

step "a" {
  use  = "read.images"
""",
        """\
recipe.hcl:5:1: this is no HCL: found the end of the file, expected '}'""",
    ),
}

JSON = {
    "several_at_once": (
        """\
{
  "forge": 1,
  "sede": 7,
  "steps": {
    "photos": {"use": "read.images"},
    "hr": {"use": "tile.best", "from": ["photo"], "on_error": "quarantin"}
  }
}
""",
        """\
recipe.json:3:3: unknown key 'sede' in the recipe
      "sede": 7,
      ^
  hint: did you mean 'seed'?
recipe.json:6:41: step 'hr': 'photo' is no step of this recipe
        "hr": {"use": "tile.best", "from": ["photo"], "on_error": "quarantin"}
                                            ^
  hint: did you mean 'photos'?
recipe.json:6:63: step 'hr': on_error is "quarantin", expected "quarantine" or "stop"
        "hr": {"use": "tile.best", "from": ["photo"], "on_error": "quarantin"}
                                                                  ^
  hint: did you mean 'quarantine'?""",
    ),
    "a_key_twice": (
        """\
{
  "forge": 1,
  "steps": {"a": {"use": "read.images"}, "a": {"use": "read.videos"}}
}
""",
        """\
recipe.json:3:42: key 'a' is written twice; the first stands at recipe.json:3:13
      "steps": {"a": {"use": "read.images"}, "a": {"use": "read.videos"}}
                                             ^
  hint: remove or rename one of the two""",
    ),
    "not_a_number": (
        """\
{
  "forge": 1,
  "seed": NaN,
  "steps": {"a": {"use": "read.images", "with": {"x": -Infinity}}}
}
""",
        """\
recipe.json:3:11: NaN is no number that a recipe can hold
      "seed": NaN,
              ^
  hint: put it in quotes where text is meant
recipe.json:4:55: -Infinity is no number that a recipe can hold
      "steps": {"a": {"use": "read.images", "with": {"x": -Infinity}}}
                                                          ^
  hint: put it in quotes where text is meant""",
    ),
    "no_use": (
        """\
{"forge": 1, "steps": {"a": {"from": "b"}, "b": {"use": "read.images"}}}
""",
        """\
recipe.json:1:24: step 'a' has no 'use'
    {"forge": 1, "steps": {"a": {"from": "b"}, "b": {"use": "read.images"}}}
                           ^
  hint: "use": "OPERATOR\"""",
    ),
    "a_comma_too_many": (
        """\
{
  "forge": 1,
  "steps": {"a": {"use": "read.images"},}
}
""",
        """\
recipe.json:3:41: this is no JSON: found '}', expected a key after the comma
      "steps": {"a": {"use": "read.images"},}
                                            ^""",
    ),
    "a_comment": (
        """\
{
  "forge": 1, // the version
  "steps": {}
}
""",
        """\
recipe.json:2:15: this is no JSON: found '/', expected a key in double quotes
      "forge": 1, // the version
                  ^""",
    ),
    "an_octal_number": (
        """\
{"forge": 1, "seed": 010}
""",
        """\
recipe.json:1:22: this is no JSON: found '010', expected a value
    {"forge": 1, "seed": 010}
                         ^
  hint: "010\"""",
    ),
    "an_open_text": (
        """\
{"forge": 1, "name": "sr}
""",
        """\
recipe.json:1:22: this is no JSON: a text has no closing quote on its line
    {"forge": 1, "name": "sr}
                         ^""",
    ),
}


def _told(recipe: str, suffix: str) -> str:
    path = Path(f"recipe{suffix}")
    path.write_text(recipe, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, environ={"HOME": "/home/me"})
    return str(caught.value)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", YAML)
def test_a_broken_yaml_recipe_is_told_whole(name: str) -> None:
    recipe, message = YAML[name]
    assert _told(recipe, ".yaml") == message


@pytest.mark.parametrize("name", HCL)
def test_a_broken_hcl_recipe_is_told_whole(name: str) -> None:
    recipe, message = HCL[name]
    assert _told(recipe, ".hcl") == message


@pytest.mark.parametrize("name", JSON)
def test_a_broken_json_recipe_is_told_whole(name: str) -> None:
    recipe, message = JSON[name]
    assert _told(recipe, ".json") == message
