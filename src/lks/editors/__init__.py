"""Editors behind one protocol."""
