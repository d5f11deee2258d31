"""Brightbox: as OpenStack."""

from __future__ import annotations

from firstboot.sources.openstack import fetch

__all__ = ["fetch"]
