"""What a first-boot config may say, how it is read and checked. Shared by host and guest.

Imports only the standard library, yaml and itself. :mod:`firstboot.engine.compile` makes one config of texts::

    from firstboot.engine.compile import check, load
    loaded = load(text, "machine.yaml")     # raises LocatedError, whose text shows every problem
    for complaint in check([("machine.yaml", text)]):
        print(complaint)
"""
