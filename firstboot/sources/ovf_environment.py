"""The OVF environment: properties that a virtual appliance is deployed with (DMTF DSP0243, section 11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree import ElementTree

from firstboot.sources import SourceError

NAMESPACE = "http://schemas.dmtf.org/ovf/environment/1"
_PROPERTY, _KEY, _VALUE = (f"{{{NAMESPACE}}}{name}" for name in ("Property", "key", "value"))
_SECTION = f"{{{NAMESPACE}}}PropertySection"


def properties_of(text: str) -> dict[str, str]:
    """The properties by their keys.

    Raises:
        SourceError: it is no such document.
    """
    return {each.get(_KEY, ""): each.get(_VALUE, "") for _, each in _properties(_parse(text))}


def without(text: str, keys: Iterable[str]) -> str:
    """The document without some properties.

    Raises:
        SourceError: it is no such document.
    """
    root = _parse(text)
    gone = set(keys)
    for section, each in list(_properties(root)):
        if each.get(_KEY) in gone:
            section.remove(each)
    ElementTree.register_namespace("oe", NAMESPACE)
    return ElementTree.tostring(root, encoding="unicode")


def _properties(root: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, ElementTree.Element]]:
    for section in root.iter(_SECTION):
        for each in section.findall(_PROPERTY):
            yield section, each


def _parse(text: str) -> ElementTree.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # nothing of OVF needs these, and bombs are made of them
        raise SourceError("the OVF environment defines entities, which is refused")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise SourceError(f"the OVF environment is not valid XML: {error}") from None
