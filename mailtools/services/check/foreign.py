"""What other mail servers call a setting: qmail's control files, and the best-known of Postfix.

Who comes from there types those names first. mailtools-switching(7) has the whole.
"""

FOREIGN = {
    # qmail: the other names are the same here, or mean nothing
    "badmailfrom": ("qmail", "hold"),
    "concurrencyremote": ("qmail", "destination-limits"),
    "databytes": ("qmail", "message-size"),
    "queuelifetime": ("qmail", "lifetime"),
    "rcpthosts": ("qmail", "relay-domains"),
    "smtproutes": ("qmail", "routes"),
    "virtualdomains": ("qmail", "virtual"),
    # Postfix
    "alias_maps": ("Postfix", "aliases"),
    "message_size_limit": ("Postfix", "message-size"),
    "mydestination": ("Postfix", "locals"),
    "myhostname": ("Postfix", "me"),
    "mynetworks": ("Postfix", "relay-clients"),
    "relay_domains": ("Postfix", "relay-domains"),
    "relayhost": ("Postfix", "routes"),
    "transport_maps": ("Postfix", "transports"),
    "virtual_alias_maps": ("Postfix", "virtual"),
}
"""Name: whose it is, and our setting that comes nearest."""
