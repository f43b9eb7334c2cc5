#!/bin/sh
# Pipelines to take from: each is one line that does a real thing. With a name, runs that one:
#   pipelines.sh held
set -eu

# What waits for a domain, with the reason.
waiting() { queue-list --to "*@${1-example.net}"; }

# Try everything of one sender again, now.
again() { queue-list --ids --from "${1-alice@example.org}" | queue-edit retry; }

# Hold what a sender has in the queue; look at it; let it go.
held() { queue-list --ids --from "${1-alice@example.org}" | queue-edit hold; queue-list --state hold; }
release() { queue-list --ids --state hold | queue-edit release; }

# How many wait, by recipient domain.
domains() { queue-list --json | sed -n 's/.*"address": *"[^"@]*@\([^"]*\)".*/\1/p' | sort | uniq -c | sort -rn; }

# Deliver a message to a Maildir without any queue.
deliver() { local-deliver --maildir "${1-$HOME/Maildir}" "${2-$USER@localhost}"; }

# Count a mailbox over ssh, without an IMAP server there.
count() { printf 'a STATUS INBOX (MESSAGES UNSEEN)\r\nb LOGOUT\r\n' | ssh "$1" imapd --maildir Maildir; }

# Take over the queue of a host that died: copy to tmp, then one rename each.
takeover() {
    for file in "$1"/new/* "$1"/wait/*/*; do
        [ -e "$file" ] || continue
        cp "$file" "$2/tmp/" && mv "$2/tmp/${file##*/}" "$2/new/"
    done
}

[ $# = 0 ] || "$@"
