"""What executes a guest's instructions: KVM if it really works, else emulation, where one kernel starts at a time."""
