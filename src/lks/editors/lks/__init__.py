"""The Latent Knowledge Scalpel: the one place where its parts are wired together."""
