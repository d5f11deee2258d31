"""Which platform a machine is on, where nobody says so: by what the firmware says about it.

Only platforms that say it clearly are detected; all others are named by ``ignition.platform.id=``, which images
made for them have.
"""

from __future__ import annotations

from firstboot.places import Places
from firstboot.sources import qemu

# A file of /sys/class/dmi/id, how its content begins, and the platform. The first match counts: several clouds are
# built on OpenStack, or on a hypervisor that has its own name in another field.
FIRMWARE = (
    ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", "azure"),
    ("chassis_asset_tag", "OracleCloud.com", "oraclecloud"),
    ("sys_vendor", "Amazon EC2", "aws"),
    ("product_name", "Google Compute Engine", "gcp"),
    ("product_name", "Alibaba Cloud ECS", "aliyun"),
    ("sys_vendor", "Akamai", "akamai"),
    ("sys_vendor", "Linode", "akamai"),
    ("sys_vendor", "DigitalOcean", "digitalocean"),
    ("product_name", "Exoscale", "exoscale"),
    ("sys_vendor", "Hetzner", "hetzner"),
    ("sys_vendor", "Scaleway", "scaleway"),
    ("sys_vendor", "UpCloud", "upcloud"),
    ("sys_vendor", "Vultr", "vultr"),
    ("product_name", "CloudStack", "cloudstack"),
    ("product_name", "OpenStack Nova", "openstack"),
    ("product_name", "OpenStack Compute", "openstack"),
    ("sys_vendor", "Nutanix", "nutanix"),
    ("product_family", "KubeVirt", "kubevirt"),
    ("product_name", "Apple Virtualization", "applehv"),
    ("product_name", "VirtualBox", "virtualbox"),
    ("sys_vendor", "VMware", "vmware"),
    ("product_name", "Virtual Machine", "hyperv"),  # Microsoft's; Azure's has the asset tag above
)


def detected(places: Places) -> str:
    """The platform's id: what the firmware says, else ``qemu`` if its fw_cfg device is there, else ``metal``."""
    said: dict[str, str] = {}
    for name, beginning, platform in FIRMWARE:
        if name not in said:
            said[name] = _read(places, name)
        if said[name].startswith(beginning):
            return platform
    return "qemu" if qemu.is_here(places) else "metal"


def _read(places: Places, name: str) -> str:
    try:
        return (places.sys / "class/dmi/id" / name).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
