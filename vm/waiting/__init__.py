"""Every wait has a deadline, ends early on bad news, and says what it waited for."""
