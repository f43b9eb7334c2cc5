#!/bin/sh
# A tour of mailtools: one message through every command, over real sockets and TLS, without root.
#
#   examples/tour.sh          makes a site in a folder, walks through it, removes it
#   examples/tour.sh --stay   keeps the servers up, and says where a mail client finds them
#   examples/tour.sh --keep   keeps the folder to look at
#
# Needs python3 (3.11 or newer) with venv. Nothing outside the folder is touched,
# except .venv in this checkout, where the commands are installed.
set -eu

stay='' keep=''
for argument; do
    case $argument in
        --stay) stay=yes keep=yes ;;
        --keep) keep=yes ;;
        *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 64 ;;
    esac
done
here=$(cd "$(dirname "$0")/.." && pwd)
bold='' plain=''
if [ -t 1 ]; then bold=$(tput bold 2>/dev/null || :) plain=$(tput sgr0 2>/dev/null || :); fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { sed 's/^/    /'; }
fail() { echo "tour: $*" >&2; exit 1; }

# -- the commands -------------------------------------------------------------------------------

if [ -n "${VIRTUAL_ENV-}" ] && [ -x "$VIRTUAL_ENV/bin/smtpd-accept" ]; then
    venv=$VIRTUAL_ENV
elif [ ! -f "$here/pyproject.toml" ]; then
    venv=$(cd "$here/../../.." && pwd)    # installed: PREFIX/share/doc/mailtools/examples
    [ -x "$venv/bin/smtpd-accept" ] || fail "no commands in $venv/bin: run this from a checkout"
else
    venv=$here/.venv
    if [ ! -x "$venv/bin/smtpd-accept" ]; then
        step "Installing the commands into .venv"
        command -v python3 >/dev/null ||
            fail "there is no python3: on Debian and Ubuntu, apt-get install python3-venv"
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
            fail "mailtools needs Python 3.11 or newer; this is $(python3 --version)"
        [ -w "$here" ] || fail "the commands go into $venv, and $here cannot be written to: use a clone of your own"
        python3 -m venv "$venv" >&2 ||
            fail "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv"
        # As a link to this checkout: after a git pull the tour shows the code that is here.
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$here" ||
            fail "pip could not install the commands and what they need: is there a network?"
    fi
fi
python() { # the one that has what the commands need
    if [ -x "$venv/bin/python" ]; then "$venv/bin/python" "$@"; else python3 "$@"; fi
}
PATH=$venv/bin:$PATH

# -- a site in a folder -------------------------------------------------------------------------

site=$(mktemp -d "${TMPDIR:-/tmp}/mailtools-tour.XXXXXX")
MAILTOOLS_ETC=$site/etc MAILTOOLS_SPOOL=$site/spool
export MAILTOOLS_ETC MAILTOOLS_SPOOL
servers=''
finish() {
    # shellcheck disable=SC2086 # words are wanted
    [ -z "$servers" ] || kill $servers 2>/dev/null || :
    wait
    if [ -n "$keep" ]; then echo "The site is in $site"; else rm -rf "$site"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM

step "1. A site is a folder of control files: a setting a file, a value a line"
mkdir -p "$site/etc" "$site/log"
cd "$site/etc"
echo mail.example.org > me
echo example.org > locals
echo "$site/mail/%n" > maildir
echo 'postmaster: bob' > aliases
id -un > mailbox-owner    # only root would need it: a mail host has an own user for this
python - "$site/etc" <<'CERTIFICATE'
import datetime, ipaddress, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

folder = pathlib.Path(sys.argv[1])
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.example.org")])
now = datetime.datetime.now(datetime.timezone.utc)
names = [x509.DNSName("mail.example.org"), x509.DNSName("localhost")]
names += [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=2))
builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
pem = serialization.Encoding.PEM
(folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
plain = serialization.NoEncryption()
(folder / "key.pem").write_bytes(
    key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
)
CERTIFICATE
chmod 600 key.pem
echo cert.pem > tls-certificate
echo key.pem > tls-key
cd "$site"
for file in me locals maildir mailbox-owner aliases tls-certificate tls-key; do
    printf '    %-16s %s\n' "$file" "$(cat "etc/$file")"
done

step "2. Two users: mail-account keeps their passwords, hashed, in the file accounts"
echo wonderland | mail-account add alice@example.org
echo builder | mail-account add bob@example.org
cut -c1-76 etc/accounts | show

# A second host, so that mail has somewhere to go by SMTP: it is only a receiving server.
mkdir -p "$site/there/etc"
echo mail.example.net > there/etc/me
echo example.net > there/etc/locals
echo "$site/there/mail/%n" > there/etc/maildir
id -un > there/etc/mailbox-owner
cp etc/cert.pem etc/key.pem there/etc/
echo cert.pem > there/etc/tls-certificate
echo key.pem > there/etc/tls-key
echo irrelevant | mail-account --etc "$site/there/etc" --spool "$site/there/spool" add carol@example.net

listener() { # NAME COMMAND… → its port in $port
    name=$1; shift; : > "$site/log/$name"
    "$@" 2>"$site/log/$name" &
    servers="$servers $!"
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        port=$(sed -n 's/^listening address=.*:\([0-9]*\) .*/\1/p' "$site/log/$name")
        [ -z "$port" ] || return 0
        sleep 0.25
    done
    cat "$site/log/$name" >&2
    fail "$name did not start"
}

step "3. The servers listen (under inetd or systemd the same commands serve one connection each)"
listener there smtpd-accept --etc "$site/there/etc" --spool "$site/there/spool" --listen 127.0.0.1:0
echo "example.net:127.0.0.1:$port" > etc/routes    # instead of the DNS, here
listener submission smtpd-accept --submission --tls --listen 127.0.0.1:0; submission=$port
listener mx smtpd-accept --listen 127.0.0.1:0; mx=$port
listener pop3 pop3d --tls --listen 127.0.0.1:0; pop3=$port
listener imap imapd --tls --listen 127.0.0.1:0; imap=$port
cat log/* | grep '^listening' | show

# -- the way of a message -----------------------------------------------------------------------

step "4. Alice's client submits a message by SMTP: TLS, AUTH, one recipient here, one elsewhere"
cat > message <<'MESSAGE'
From: Alice <alice@example.org>
To: Bob <bob@example.org>, Carol <carol@example.net>
Subject: A tour of mailtools

Hello Bob, hello Carol,

this message went through every command.
.
(That dot alone on a line is part of it.)
MESSAGE
python - "$submission" "$site/etc/cert.pem" message <<'CLIENT' | show
import smtplib, ssl, sys
port, certificate, path = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
with smtplib.SMTP_SSL("127.0.0.1", int(port), context=context) as client:
    client.login("alice@example.org", "wonderland")
    client.mail("alice@example.org")
    for recipient in ("bob@example.org", "carol@example.net"):
        client.rcpt(recipient)
    print(*client.data(open(path).read()))
CLIENT
grep -h '^queued' log/submission | show

step "5. It is in the queue: one file, envelope and message, text to read"
mailq | show
entry=$(ls "$site"/spool/queue/new/*)
sed -n '1,/^$/p' "$entry" | show

step "6. queue-run gives it to local-deliver and relay-send, and reads their reports"
queue-run 2>log/queue-run
show < log/queue-run

step "7. Bob's copy is a file in his Maildir; Carol's host has queued hers, and delivers it"
ls mail/bob/new | show
queue-run --etc "$site/there/etc" --spool "$site/there/spool" 2>log/there-run
grep -h '^delivered' log/there-run | show

step "8. A program sends too: sendmail, to postmaster, whom the file aliases leads to Bob"
printf 'Subject: from a script\n\nThe backup is done.\n' | sendmail -f alice@example.org postmaster
queue-run 2>log/queue-run-2
show < log/queue-run-2

step "9. A failure: the sender gets an error message (DSN, RFC 3464) after the exchanger said no"
printf 'Subject: nobody there\n\nHello?\n' | sendmail -f bob@example.org nobody@example.net
queue-run 2>log/queue-run-3
queue-run 2>>log/queue-run-3
show < log/queue-run-3

step "10. Bob fetches by POP3 over TLS; the messages stay on the server"
python - "$pop3" "$site/etc/cert.pem" <<'CLIENT' | show
import poplib, ssl, sys
port, certificate = sys.argv[1:]
client = poplib.POP3_SSL("127.0.0.1", int(port), context=ssl.create_default_context(cafile=certificate))
client.user("bob@example.org")
client.pass_("builder")
print(client.stat())
for number in range(1, client.stat()[0] + 1):
    lines = client.retr(number)[1]
    print(number, *[line.decode() for line in lines if line.startswith(b"Subject:")])
client.quit()
CLIENT

step "11. Bob reads by IMAP over TLS"
python - "$imap" "$site/etc/cert.pem" <<'CLIENT' | show
import imaplib, ssl, sys
port, certificate = sys.argv[1:]
client = imaplib.IMAP4_SSL("127.0.0.1", int(port), ssl_context=ssl.create_default_context(cafile=certificate))
client.login("bob@example.org", "builder")
print(client.select("INBOX"))
found = client.search(None, 'SUBJECT', '"tour"')[1][0].split()[0].decode()
for line in client.fetch(found, "(UID FLAGS BODY.PEEK[])")[1][0]:
    print(line.decode().replace("\r", ""))
client.logout()
CLIENT

step "12. By hand: a session on a pipe, already logged in (as in: ssh host imapd --maildir ~/Maildir)"
printf 'a STATUS INBOX (MESSAGES UNSEEN UIDNEXT)\r\nb LOGOUT\r\n' | imapd --maildir mail/bob 2>/dev/null | show

mailq | show
step "The tour is over: every command has done its part."

if [ -n "$stay" ]; then
    queue-run --wait 2>>log/queue-run-wait &
    servers="$servers $!"
    cat <<ADDRESSES

The servers stay up; the certificate is $site/etc/cert.pem (self-made: your client will ask).
    submission (TLS)  127.0.0.1:$submission    alice@example.org, password wonderland
    IMAP (TLS)        127.0.0.1:$imap    bob@example.org, password builder
    POP3 (TLS)        127.0.0.1:$pop3
    SMTP (MX)         127.0.0.1:$mx
Control-C ends them; the folder stays.
ADDRESSES
    wait
fi
