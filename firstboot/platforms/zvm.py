"""IBM z/VM: a file of type ``ign`` in the virtual card reader, received with the programs of s390-tools."""

from __future__ import annotations

from firstboot.apply.programs import ProgramError
from firstboot.log import Log
from firstboot.places import RUN_DIRECTORY, Places
from firstboot.platforms import ConfigUnavailable, Fetched, Platform
from firstboot.platforms.shared.config_drive import find_file

_READER = "000c"
_TYPE = "ign"


def _fetch_config(places: Places, log: Log) -> Fetched | None:
    """The first such file in the reader's queue."""
    try:
        _put_online(places)
        spool = _find_spool_file(places.programs.run(["vmur", "li"]))
        if spool is None:
            return None
        directory = places.locate(RUN_DIRECTORY)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        received = directory / "spool.ign"
        log.note(f"receive spool file {spool} of the card reader")
        places.programs.run(["vmur", "re", "-f", spool, str(received)])
    except ProgramError as error:
        raise ConfigUnavailable(f"the card reader {_READER} cannot be read: {error}") from None
    data = find_file(directory, received.name)
    received.unlink(missing_ok=True)
    return None if data is None else Fetched(f"spool file {spool}", data.strip(b"\0"))


def _put_online(places: Places) -> None:
    """Bring the reader online, after taking it off the list of ignored devices if need be.

    Raises:
        ProgramError
    """
    online = ["chccwdev", "-e", _READER]
    if places.programs.run_for_status(online)[0] != 0:
        places.programs.run(["cio_ignore", "-r", _READER])
        places.programs.run(online)
    places.programs.run(["udevadm", "settle"])


def _find_spool_file(listing: str) -> str | None:
    """The number of the first file of our type: ORIGINID FILE CLASS .. RECORDS CPY HOLD DATE TIME NAME TYPE DIST."""
    for line in listing.splitlines():
        fields = line.split()
        if len(fields) >= 11 and fields[10] == _TYPE:
            return fields[1]
    return None


PLATFORM = Platform(
    config=f"the first file of type `{_TYPE}` in the card reader",
    fetch_config=_fetch_config,
    modules=("vmur",),
    needs="the package `s390-tools`",
)
