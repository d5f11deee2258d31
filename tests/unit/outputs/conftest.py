"""What tests of outputs share."""

from tests.support.small_image import image, overlay, writing_tools

__all__ = ["image", "overlay", "writing_tools"]
