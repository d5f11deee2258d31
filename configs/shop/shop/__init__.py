"""A small shop: orders come in by a page, a worker ships them, a job counts them."""
