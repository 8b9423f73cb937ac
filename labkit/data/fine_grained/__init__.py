"""Photographs of things that look alike: six published sets, each read from the layout of its own archive."""

from . import aircraft, cars, cub, dogs, nabirds, pets

__all__ = ["aircraft", "cars", "cub", "dogs", "nabirds", "pets"]
