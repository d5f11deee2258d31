"""A config of ``variant: buildos`` as tests look at it."""

from __future__ import annotations

from typing import NamedTuple

from firstboot.config.loaded import Document
from firstboot.config.models import Directory, File, Link, Unit
from firstboot.config.urls import decode_data_url

HEAD = "variant: buildos\nversion: 1.0.0\n"


class Read(NamedTuple):
    """What became of a text."""

    document: Document

    @property
    def said(self) -> list[str]:
        """Its problems as ``LINE path: message``."""
        found = []
        for each in self.document.problems:
            mark = self.document.located.mark_of(each.path, on_key=each.on_key)
            assert mark is not None
            found.append(f"{mark.line} {'.'.join(map(str, each.path))}: {each.message}")
        return found

    @property
    def files(self) -> dict[str, File]:
        """By path."""
        config = self.document.config
        assert config is not None, self.said
        return {each.path: each for each in config.storage.files}

    @property
    def texts(self) -> dict[str, str]:
        """Contents of files by path."""
        contents = {path: decode_data_url(file.contents.source or "data:,") for path, file in self.files.items()}
        return {path: data.decode("utf-8", "replace") for path, data in contents.items()}

    @property
    def directories(self) -> dict[str, Directory]:
        """By path."""
        config = self.document.config
        assert config is not None, self.said
        return {each.path: each for each in config.storage.directories}

    @property
    def links(self) -> dict[str, Link]:
        """By path."""
        config = self.document.config
        assert config is not None, self.said
        return {each.path: each for each in config.storage.links}

    @property
    def units(self) -> dict[str, Unit]:
        """By name."""
        config = self.document.config
        assert config is not None, self.said
        return {each.name: each for each in config.systemd.units}

    def settings(self, name: str) -> list[str]:
        """The lines of a unit that are settings."""
        return [line for line in (self.units[name].contents or "").splitlines() if "=" in line]
