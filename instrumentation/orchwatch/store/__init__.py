"""From the spool to Parquet, and to answers by DuckDB."""
