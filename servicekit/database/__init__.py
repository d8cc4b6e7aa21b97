"""PostgreSQL: where it is, the pool in front of it, the unit of work, its errors, its schema and its
migrations."""
