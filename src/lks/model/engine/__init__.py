"""Passes through the model: whole, from a layer upwards, with states put in."""
