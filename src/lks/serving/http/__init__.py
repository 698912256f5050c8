"""The HTTP front: OpenAI's API over an engine, and the API of facts over the store."""
