"""What the settings of ``variant: buildos`` have in common: they are spelled in one way only."""

from firstboot.config.models import Model


class OwnModel(Model):
    """Base of the models here, which Ignition has no other names for."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_arguments: object) -> None:
        for name, info in cls.model_fields.items():
            info.alias = info.validation_alias = info.serialization_alias = name
