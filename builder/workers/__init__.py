"""Work on other machines, by Dask distributed: what is asked of them, and what they do"""
