"""The services that an account or an app password may be for."""

APP_SERVICES = ("imap", "pop3", "submission", "sieve")
