"""Edited models as a service: engines, the store of facts, HTTP."""
