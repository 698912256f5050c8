"""The store's schema from one version to the next, by Alembic; run when a store is opened."""
