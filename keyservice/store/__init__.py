"""All SQL of KeyService, a file for each table. Functions take the unit of work's connection and never commit."""
