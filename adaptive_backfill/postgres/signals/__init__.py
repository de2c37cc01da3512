"""What a PostgreSQL server can be asked, a file a family: SQL and pure judgements."""
