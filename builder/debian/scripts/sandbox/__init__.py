"""Scripts that are run because the definition says so: in a sandbox, over a copy of the tree."""
