"""The store of facts: a database of what is in force and why, and files of blocks beside it."""
