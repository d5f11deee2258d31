"""What every image of ours promises, as checks of two kinds: of the tree before it boots, and of the machine that runs.

A check is a function of facts that raises AssertionError. Facts are gathered once, so that all checks can be asked of
an image that was broken on purpose: the right one must fail, and no other.
"""
