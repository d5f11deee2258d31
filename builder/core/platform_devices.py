"""What devices platforms have, as families of kernel modules that drive them.

The table leaves out, and does not pick: a driver that no row knows stays in every image. A newer kernel's new drivers
are there until somebody looks at them; none goes missing because nobody did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

MODULES = "/usr/lib/modules"
# Globs of modules below kernel/, without .ko and what follows; "-" and "_" are one.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "virtio": (
        "*/virtio_*", "*/nd_virtio", "*/vmw_vsock_virtio_transport", "*/pvpanic*", "*/qemu_fw_cfg", "*/i6300esb",
    ),
    "xen": ("drivers/xen/*", "*/xen_*"),
    "hyperv": ("drivers/hv/*", "drivers/net/hyperv/*", "*/hv_*", "*/hyperv_*", "*/*_hyperv", "*/uio_hv_generic"),
    "vmware": (
        "*/vmw_pvscsi", "*/vmw_vmci", "*/vmw_balloon", "*/vmw_vsock_vmci_transport", "*/vmxnet3", "*/vmwgfx",
        "*/ptp_vmw", "*/mptspi", "*/mptsas", "*/BusLogic",
    ),
    "nitro": ("drivers/net/ethernet/amazon/*", "*/nsm", "*/nitro_enclaves"),
    "google": ("drivers/net/ethernet/google/*", "*/idpf"),
    "mana": ("drivers/net/ethernet/microsoft/*", "drivers/infiniband/hw/mana/*"),
    "mellanox": ("drivers/net/ethernet/mellanox/*", "drivers/infiniband/hw/mlx*"),
    "intel": ("*/ixgbevf", "*/iavf", "*/igbvf"),
    "pensando": ("drivers/net/ethernet/pensando/*",),
    # What only a machine of metal has: other keyboards than plain ones, tablets, modems, laboratories, sensors of heat.
    "metal": (
        "drivers/comedi/*", "drivers/hid/hid_[!gh]*", "drivers/hid/hid_g[!e]*", "drivers/hid/hid_gembird",
        "drivers/hid/amd_sfh_hid/*", "drivers/hid/surface_hid/*", "drivers/platform/surface/*",
        "drivers/power/supply/surface*",
        "drivers/net/wwan/*", "*/mhi_net", "*/mhi_pci_generic", "drivers/media/cec/platform/*",
        "drivers/media/cec/usb/*", "drivers/leds/leds_*",
        "drivers/misc/cardreader/*", "drivers/thermal/intel/*", "drivers/firmware/google/*", "drivers/soundwire/*",
        "*/ipr", "*/mpi3mr", "*/megaraid_sas", "*/mpt3sas", "*/uio_aec", "*/uio_cif", "*/uio_mf624",
        "*/uio_netx", "*/uio_sercos3",
        "*/advantech_ec_wdt", "*/ni903x_wdt", "*/nic7018_wdt", "*/wdt_pci", "*/sbs", "*/sbshc",
        "*/p4_clockmod", "*/powernow_k8", "*/speedstep_*", "*/8250_lpss",
    ),
}  # fmt: skip
EVERYTHING = frozenset(FAMILIES)
_VIRTIO = frozenset({"virtio"})
# Which a platform's machines may have. On clouds that anybody builds of whatever there is, it may be any network card
# that virtual machines are given a part of.
_CARDS = frozenset({"mellanox", "intel", "pensando"})
PLATFORMS: Mapping[str, frozenset[str]] = {
    "akamai": _VIRTIO,
    "aliyun": _VIRTIO | {"xen"},
    "applehv": _VIRTIO,
    "aws": frozenset({"nitro", "xen", "intel"}),
    "azure": frozenset({"hyperv", "mana", "mellanox"}),
    "azurestack": frozenset({"hyperv", "mana", "mellanox"}),
    "brightbox": _VIRTIO,
    "cloudstack": _VIRTIO | {"xen", "vmware"} | _CARDS,
    "digitalocean": _VIRTIO,
    "exoscale": _VIRTIO,
    "file": EVERYTHING,
    "gcp": _VIRTIO | {"google"},
    "hetzner": _VIRTIO,
    "hyperv": frozenset({"hyperv"}) | _CARDS,
    "ibmcloud": _VIRTIO | {"xen"} | _CARDS,
    "kubevirt": _VIRTIO | _CARDS,
    "metal": EVERYTHING,
    "nutanix": _VIRTIO | _CARDS,
    "nvidiabluefield": EVERYTHING,
    "openstack": EVERYTHING,  # machines of metal as well (Ironic)
    "oraclecloud": _VIRTIO | _CARDS,
    "packet": EVERYTHING,
    "powervs": EVERYTHING,
    "proxmoxve": _VIRTIO | {"vmware"} | _CARDS,
    "qemu": _VIRTIO,
    "scaleway": _VIRTIO,
    "upcloud": _VIRTIO,
    "virtualbox": _VIRTIO | {"vmware"},
    "vmware": frozenset({"vmware"}) | _CARDS,
    "vultr": _VIRTIO,
    "zvm": EVERYTHING,
}


def list_missing_families(platforms: Iterable[str]) -> list[str]:
    """The families of devices that no machine of these platforms has; none where no platform is named."""
    there = [PLATFORMS[name] for name in platforms]
    return [family for family in FAMILIES if there and not any(family in families for families in there)]


def find_families(name: str) -> list[str]:
    """The families that a module may belong to, by its name alone; what a directory says is not known then."""
    plain = name.replace("-", "_")
    return [
        family
        for family, globs in FAMILIES.items()
        if any(fnmatchcase(plain, glob.rpartition("/")[2]) for glob in globs if glob.startswith("*/"))
    ]


def choose_group(path: str) -> str:
    """What a module is for, in a few words: ``drivers of hyperv``, ``fs``, ``net``.

    Args:
        path: below ``/usr/lib/modules/RELEASE/kernel``.
    """
    plain = path.partition(".ko")[0].replace("-", "_")
    family = next((name for name, globs in FAMILIES.items() if any(fnmatchcase(plain, glob) for glob in globs)), "")
    return f"drivers of {family}" if family else path.partition("/")[0]
