"""Recipes: text with positions, three formats, one model, and what a recipe comes to."""

from forge_pipeline.recipe.resolved import Defaults, InputRef, MaxErrors, Recipe, StepSpec

__all__ = ["Defaults", "InputRef", "MaxErrors", "Recipe", "StepSpec"]
