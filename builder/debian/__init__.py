"""Debian as data: signed indexes, the resolver, the lock, downloads, and ``.deb`` files read into a tree.

No program of Debian's is run and no maintainer script either; the order of use is

    find_mirrors -> open_archive -> resolve -> Lock -> fetch_packages -> unpack_all -> unpack_tree
"""
