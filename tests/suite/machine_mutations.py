"""A machine broken on purpose, in each way that a check is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.suite.checking import Mutation, breaks

UNIT = "/etc/systemd/system"


# What the guest's shell is given.
MUTATIONS: dict[str, Mutation[str]] = {
    "somebody listens": breaks(
        "systemd-run -q --unit=listens python3 -m http.server 9999"
        " && until ss -Hltn | grep -q :9999; do sleep .2; done",
        "only_these_listen",
    ),
    "a program runs as root": breaks(
        "cp /usr/bin/true /var/lib/rooted && chmod 4755 /var/lib/rooted", "nothing_runs_as_somebody_else"
    ),
    "everybody may write": breaks("touch /etc/open && chmod 666 /etc/open", "nothing_can_be_written_by_everybody"),
    "a file of nobody": breaks("touch /var/lib/lost && chown 4242 /var/lib/lost", "everything_belongs_to_somebody"),
    "a link to nowhere": breaks("ln -s /nowhere /etc/nowhere", "links_lead_somewhere"),
    "a password": breaks("sed -i 's/^core:[^:]*/core:$y$x/' /etc/shadow", "nobody_has_a_password"),
    "another root": breaks(
        "echo toor:x:0:0::/root:/usr/sbin/nologin >> /etc/passwd && echo 'toor:*:::::::' >> /etc/shadow",
        "only_root_is_root",
        "no_two_users_and_no_two_groups_have_one_number",
    ),
    "another shell": breaks(
        "sed -i '/^mail:/s,/usr/sbin/nologin,/bin/bash,' /etc/passwd", "only_those_who_may_have_a_shell"
    ),
    "a user without a line in shadow": breaks(
        "echo ghost:x:4243:100::/:/usr/sbin/nologin >> /etc/passwd", "users_and_their_secrets_are_the_same_people"
    ),
    "a soft kernel": breaks("sysctl -qw kernel.kptr_restrict=0", "the_kernel_is_hardened"),
    "a service fails": breaks(
        "systemd-run -q --unit=fails --wait false || true",
        "nothing_has_failed",
        "the_system_is_running_and_has_nothing_left_to_do",
    ),
    "another time zone": breaks("timedatectl set-timezone Europe/Berlin", "it_is_utc_here_and_the_clock_is_kept"),
    "names from elsewhere": breaks(
        "ln -sfn ../run/systemd/resolve/resolv.conf /etc/resolv.conf",
        "important_links_lead_where_they_should",
        "names_are_asked_for_through_the_resolver",
    ),
    "another name": breaks("hostnamectl hostname other", "its_name_is_the_configs"),
    "an open shadow": breaks("chmod 644 /etc/shadow", "important_files_have_their_modes_and_owners"),
    "a mount with more rights": breaks("mount -o remount,suid /var", "what_is_mounted_is_as_restricted_as_it_can_be"),
    "swap": breaks(
        "dd if=/dev/zero of=/var/swap bs=1M count=8 status=none && chmod 600 /var/swap"
        " && mkswap -q /var/swap && swapon /var/swap",
        "nothing_swaps",
    ),
    "passwords over ssh": breaks(
        "mkdir -p /etc/ssh/sshd_config.d && echo PasswordAuthentication yes > /etc/ssh/sshd_config.d/00-open.conf",
        "ssh_takes_keys_only_and_not_for_root",
    ),
    "no host key": breaks("rm /etc/ssh/ssh_host_ed25519_key", "it_has_host_keys_of_its_own"),
    "a unit that makes no sense": breaks(
        f"printf '[Service]\\nNonsense=1\\nExecStart=/usr/bin/true\\n' > {UNIT}/nonsense.service"
        " && systemctl daemon-reload && systemctl start nonsense.service",
        "units_make_sense_to_the_manager",
    ),
    "units that wait for each other": breaks(
        "units='cycle-a.service cycle-b.service'; for unit in $units; do"
        ' printf "[Unit]\\nWants=$units\\nAfter=$units\\n[Service]\\nType=oneshot\\nExecStart=/usr/bin/true\\n"'
        f" > {UNIT}/$unit; done"
        " && systemctl daemon-reload && systemctl start cycle-a.service; true",
        "units_do_not_wait_for_each_other",
        "nobody_complains",
    ),
    "an error in the log": breaks("systemd-cat -p err echo something is wrong", "nobody_complains"),
    "another timer": breaks(
        "systemd-run -q --unit=ticks --on-calendar=yearly true", "timers_are_those_that_belong_here"
    ),
    "shouting for names": breaks(
        "mkdir -p /etc/systemd/resolved.conf.d"
        " && printf '[Resolve]\\nLLMNR=yes\\n' > /etc/systemd/resolved.conf.d/loud.conf"
        " && systemctl restart systemd-resolved",
        "nobody_is_asked_by_shouting",
    ),
    "another image's name": breaks(
        "sed s/IMAGE_ID=demo/IMAGE_ID=other/ /etc/os-release > /run/os-release"
        " && mount --bind /run/os-release /usr/lib/os-release",
        "it_says_which_image_it_is",
    ),
    "no record of packages": breaks("umount /var/lib/dpkg", "what_is_mounted_is_as_restricted_as_it_can_be"),
    "no serial console": breaks("systemctl stop serial-getty@ttyS0", "a_person_can_log_in_at_the_serial_line"),
    "no card": breaks(
        "ip link set enp0s2 down && ip address flush dev enp0s2", "the_card_has_a_stable_name_and_an_address"
    ),
}


def says(facts: dict[str, Any], program: str, old: str, new: str) -> None:
    """Change what a program has said."""
    answer = facts["said"][program]
    assert old in answer["out"]
    answer["out"] = answer["out"].replace(old, new)


# What cannot be broken in a running machine is broken in what it said.
LIES: dict[str, Mutation[Callable[[dict[str, Any]], object]]] = {
    "another way to boot": breaks(
        lambda facts: facts.update(loader=[]), "it_was_started_by_firmware_and_our_boot_loader"
    ),
    "another root": breaks(lambda facts: says(facts, "table", "verity", "linear"), "the_root_is_verified"),
    "another id": breaks(
        lambda facts: facts["files"].update({"/etc/machine-id": "0" * 32 + "\n"}),
        "its_id_is_random_and_its_own",
        "the_journal_is_kept_over_a_reboot",
    ),
    "a journal that begins late": breaks(
        lambda facts: says(facts, "manager-log", "Finished firstboot.service", "Finished nothing"),
        "the_journal_has_what_happened_before_the_root_was_there",
    ),
    "a loop device": breaks(
        lambda facts: facts["said"]["losetup"].update(out="/dev/loop0 /x\n"), "nothing_is_on_a_loop_device"
    ),
    "services that take their time": breaks(
        lambda facts: says(facts, "manager", "DefaultTimeoutStopUSec=1min 30s", "DefaultTimeoutStopUSec=infinity"),
        "services_are_stopped_in_good_time",
    ),
    "another language": breaks(lambda facts: facts["locale"].update(LANG="C"), "text_is_utf8"),
    "names from elsewhere": breaks(
        lambda facts: says(facts, "resolved", "mode: stub", "mode: foreign"), "names_are_asked_for_through_the_resolver"
    ),
    "a kernel that was told less": breaks(
        lambda facts: facts["files"].update(
            {"/proc/cmdline": facts["files"]["/proc/cmdline"].replace("slab_nomerge", "quiet")}
        ),
        "the_kernel_was_told_to_be_hard",
    ),
    "a kernel that knows no such word": breaks(
        lambda facts: facts["said"]["kernel-log"].update(
            out=facts["said"]["kernel-log"]["out"] + 'Unknown kernel command line parameters "slab_nomerge", will be\n'
        ),
        "the_kernel_was_told_to_be_hard",
    ),
    "a kernel that root may change": breaks(
        lambda facts: facts["attempts"].update({"load an unsigned module": ""}), "root_cannot_change_the_running_kernel"
    ),
    "a kernel without lockdown": breaks(
        lambda facts: facts["files"].update({"/sys/kernel/security/lockdown": "[none] integrity confidentiality\n"}),
        "root_cannot_change_the_running_kernel",
    ),
    "slabs that are shared": breaks(
        lambda facts: facts["slabs"].append(":0000064"), "memory_is_empty_and_not_where_it_was_guessed_to_be"
    ),
    "a device that everybody writes": breaks(
        lambda facts: facts["attempts"].update({"write a mounted device": 0}),
        "a_mounted_device_is_written_by_its_file_system_alone",
    ),
    "a changed block that is only an error": breaks(
        lambda facts: says(facts, "table", " 1 panic_on_corruption", ""), "a_changed_block_stops_the_machine"
    ),
    "an extension of the system": breaks(
        lambda facts: facts["said"]["extensions"].update(out="masked\nenabled\n"), "nothing_covers_what_is_verified"
    ),
    "a tainted kernel": breaks(
        lambda facts: facts["sysctl"].update({"kernel.tainted": "512"}), "the_kernel_is_not_tainted"
    ),
    "no randomness": breaks(
        lambda facts: facts["sysctl"].update({"kernel.random.entropy_avail": "12"}), "there_is_randomness"
    ),
    "randomness that comes late": breaks(
        lambda facts: says(facts, "kernel-log", "random: crng init done", "random: fast init done"),
        "randomness_was_there_before_the_first_program",
    ),
    "a network in the initrd": breaks(
        lambda facts: facts["said"]["manager-log"].update(
            out=facts["said"]["manager-log"]["out"]
            + "Started firstboot-network.service - Network for the First Boot.\n"
        ),
        "there_is_no_network_before_the_root_unless_somebody_asks",
    ),
    "few processes": breaks(
        lambda facts: facts["sysctl"].update({"kernel.pid_max": "32768"}), "processes_and_files_are_not_scarce"
    ),
    "no security modules": breaks(
        lambda facts: facts["files"].update({"/sys/kernel/security/lsm": "capability"}), "security_modules_are_on"
    ),
    "no memory controller": breaks(
        lambda facts: facts["files"].update({"/sys/fs/cgroup/cgroup.controllers": "cpu io pids"}),
        "there_is_one_control_group_tree_with_what_containers_need",
    ),
    "another Python": breaks(lambda facts: facts.update(python=["3.12.1", False]), "python_is_what_was_promised"),
    "another runtime": breaks(
        lambda facts: says(facts, "podman", '"crun"', '"runc"'), "podman_is_set_up_as_we_mean_it"
    ),
}
