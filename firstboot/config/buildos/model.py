"""What the settings of ``variant: buildos`` have in common: they are spelled in one way only."""

from firstboot.config.model import Model


class OwnModel(Model):
    """Base of the models here, which Ignition has no other names for."""

    OWN_SPELLING = True
