"""The frozen language model: where it comes from, how it reads and writes."""
