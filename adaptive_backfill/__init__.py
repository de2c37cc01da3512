"""Backfills that watch the database and pace themselves."""
