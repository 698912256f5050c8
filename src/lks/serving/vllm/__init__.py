"""Edits in vLLM: a plugin for its processes, and the server's engine over it."""
