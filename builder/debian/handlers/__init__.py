"""What maintainer scripts do, declared: one file a subject, each a function that edits the tree.

No maintainer script runs. :mod:`builder.debian.handlers.run` lists what is done instead: the scripts are evaluated
(:mod:`builder.debian.scripts`), and what they leave to programs is done once for all. A handler looks at the tree (is
there a ``sysusers.d``? a ``passwd.master``?) and at the scripts' effects, never at a list of package names that would
have to be kept by hand.
"""
