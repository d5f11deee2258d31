"""A cache behind the store that machines share: entries by key, signed by their makers, in a directory or registry"""

# Where it is, whose entries are used, and who signs, where the command line does not say it.
URL, KEYS, SIGN_KEY = "BUILD_OS_SHARED_CACHE", "BUILD_OS_CACHE_KEYS", "BUILD_OS_CACHE_SIGN_KEY"
