"""A cache behind the store that machines share: entries by key, signed by their makers, in a directory or registry"""
