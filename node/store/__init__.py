"""What is kept: rows in the database, files in the spool."""
