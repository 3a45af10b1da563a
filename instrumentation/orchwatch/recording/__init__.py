"""What a host program touches: operations, and their way into the spool. Standard library."""
