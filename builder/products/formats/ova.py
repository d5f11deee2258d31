"""What vSphere imports: an OVA, a tar with a description of the machine and its disk.

The description is OVF 1.1 (DMTF DSP0243) with VMware's extensions. The machine boots by UEFI from a
paravirtual SCSI disk: Debian's cloud kernel has no driver for the LSI controllers that are VMware's default.
The first-boot config is handed over in the OVF properties that Ignition reads.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.core.errors import InputError
from builder.core.files import hash_file, open_replacement
from builder.products.formats.vmdk import DISK_NAME, VMDK
from builder.products.product import Job, Part, Product
from builder.tree.tar_headers import BLOCK
from firstboot.config.lazy import import_lazily

if TYPE_CHECKING:
    from builder.tree import tar
    from builder.tree.tar import Writer
else:
    tar = import_lazily("builder.tree.tar")  # see gce.py

HARDWARE = "vmx-17"  # vSphere 7
CPUS, MEMORY_MIB = 2, 2048
MAX_MEMBER = 8**11 - 1  # bytes; an OVA is a ustar archive (DSP0243, "Distribution as a single file")
CHUNK = 1 << 20

SCHEMA = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
PROPERTIES = (
    ("guestinfo.ignition.config.data", "First-boot config", "The config: Ignition JSON or Butane YAML"),
    ("guestinfo.ignition.config.data.encoding", "Encoding", "Nothing, base64 or gzip+base64"),
)


@dataclass(frozen=True)
class Appliance:
    """What an OVA says of itself.

    Attributes:
        disk_size: virtual, in bytes.
        vmdk_size: of the file, in bytes.
    """

    name: str
    version: str
    disk_size: int
    vmdk_size: int


def write_ova(vmdk: Path, out: Writer, appliance: Appliance, *, created: int) -> None:
    """Write the OVA: the description, the manifest with the hashes of the others, the disk, as DSP0243 demands.

    Raises:
        InputError: the disk is larger than a member of an OVA can be.
        OSError: ``vmdk`` cannot be read.
    """
    if appliance.vmdk_size > MAX_MEMBER:
        raise InputError(
            f"the disk has {appliance.vmdk_size} bytes, and an OVA holds at most {MAX_MEMBER}",
            hint="take packages out, or build 'aws', which is the bare VMDK",
        )
    text = make_ovf(appliance).encode()
    sums = {f"{appliance.name}.ovf": hashlib.sha256(text).hexdigest(), DISK_NAME: hash_file(vmdk)}
    manifest = "".join(f"SHA256({name})= {sha256}\n" for name, sha256 in sums.items()).encode()
    for name, content in ((f"{appliance.name}.ovf", text), (f"{appliance.name}.mf", manifest)):
        out.write(_header(name, len(content), created))
        out.write(content + bytes(-len(content) % BLOCK))
    out.write(_header(DISK_NAME, appliance.vmdk_size, created))
    with vmdk.open("rb") as disk:
        while piece := disk.read(CHUNK):
            out.write(piece)
    out.write(bytes(-appliance.vmdk_size % BLOCK + 2 * BLOCK))


def _header(name: str, size: int, created: int) -> bytes:
    return tar.make_ustar_header(name.encode(), b"0", 0o644, 0, 0, size, created)


def make_ovf(appliance: Appliance) -> str:
    """The description. Values are escaped; it has no comments and no times."""
    import html  # noqa: PLC0415 - every plan imports this module

    name, version = html.escape(appliance.name), html.escape(appliance.version)
    properties = "".join(
        f"""
      <Property ovf:key="{key}" ovf:type="string" ovf:userConfigurable="true" ovf:value="">
        <Label>{label}</Label>
        <Description>{description}</Description>
      </Property>"""
        for key, label, description in PROPERTIES
    )
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:rasd="{SCHEMA}/CIM_ResourceAllocationSettingData"
          xmlns:vssd="{SCHEMA}/CIM_VirtualSystemSettingData"
          xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:id="disk" ovf:href="{DISK_NAME}" ovf:size="{appliance.vmdk_size}"/>
  </References>
  <DiskSection>
    <Info>Disks</Info>
    <Disk ovf:diskId="system" ovf:fileRef="disk" ovf:capacity="{appliance.disk_size}"
          ovf:capacityAllocationUnits="byte"
          ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network">
      <Description>The network of the machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>One machine</Info>
    <Name>{name} {version}</Name>
    <OperatingSystemSection ovf:id="101" vmw:osType="other5xLinux64Guest">
      <Info>Linux, 64 bits</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection ovf:transport="com.vmware.guestInfo">
      <Info>Hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{HARDWARE}</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:ElementName>{CPUS} processors</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>{CPUS}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>{MEMORY_MIB} MiB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>{MEMORY_MIB}</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI controller</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Hard disk</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/system</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>VM Network</rasd:Connection>
        <rasd:ElementName>Network adapter</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
    <ProductSection>
      <Info>What is installed</Info>
      <Product>{name}</Product>
      <Version>{version}</Version>{properties}
    </ProductSection>
  </VirtualSystem>
</Envelope>
"""


def finish_ova(job: Job) -> None:
    """Pack the converted disk."""
    sizes = job.parts[Part.RAW].stat().st_size, job.disk.stat().st_size
    appliance = Appliance(job.identity.name, job.identity.version, *sizes)
    with open_replacement(job.out) as file:
        write_ova(job.disk, file, appliance, created=job.identity.created)


PRODUCTS = (
    Product(
        "vsphere",
        "VMware vSphere 7 and newer",
        "OVA: OVF for UEFI and a paravirtual disk, a manifest with the SHA-256 of both, then the VMDK of `aws`",
        ".ova",
        finish=finish_ova,
        conversion=VMDK,
    ),
)
