"""Packs: trained edits on disk, and their versions."""
