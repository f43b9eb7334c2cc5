"""All settings: the one table of the control files, as mailtools-control(5) prints it."""

from typing import NamedTuple


class Setting(NamedTuple):
    """A control file: its name, kind, default, who reads it, and what it says in a sentence."""

    name: str
    kind: str
    default: str
    readers: str
    says: str


_TABLE = """
me | line | the host name | all | The name of this host, in greetings, Received fields and DSNs.
locals | lines | me | \
smtpd-accept, queue-run, local-deliver, relay-send, sendmail, pop3d, imapd, report-send | \
Domains whose mail is delivered here; `.example.org` takes its subdomains too.
relay-clients | lines | none | smtpd-accept | Addresses and networks (192.0.2.0/24) that may relay.
relay-domains | lines | none | smtpd-accept, mail-route | Domains whose mail is taken from anybody \
and sent on: of which this host is a backup exchanger, or a gateway; `.example.org` takes its \
subdomains.
relay-recipients | file | none | smtpd-accept, mail-route | Who gets mail in these domains: an \
address or `@domain` a line. Without the file anybody is taken.
xclient-clients | lines | none | smtpd-accept | Addresses and networks of proxies that may say by \
XCLIENT who their client is.
proxies | lines | none | smtpd-accept, pop3d, imapd | Addresses and networks of proxies that begin \
each connection with a PROXY header; its word that the client came by TLS counts as TLS.
disk-floor | size | 64M | smtpd-accept | Octets that must stay free on the queue's disk; mail that \
would not leave them is put off with 452.
inode-floor | number | 1000 | smtpd-accept | Files that must still be possible there, on a file \
system that counts them; the same.
greet-delay | duration | 0 | smtpd-accept | How long the greeting waits; a peer that talks \
before it is turned away.
hide-clients | flag | no | smtpd-accept | Whether the addresses of authenticated clients are left \
out of Received fields.
user-budget | number | 0 | smtpd-accept | How many recipients a user may write to in an hour; 0 \
for any number. The extra field budget of an account goes before it.
domain-budget | map | none | smtpd-accept | The same for all users of a domain together: \
`domain:recipients`; an empty domain is every other one.
client-connections | number | 50 | smtpd-accept | How many connections a client's network may have \
at a time, for each listener; 0 for any number. Others get 421; relay-clients and this host are \
free of it.
client-rate | number | 0 | smtpd-accept | How many connections it may make in a minute.
client-messages | number | 0 | smtpd-accept | How many messages it may begin in a minute.
client-prefixes | line | 32 64 | smtpd-accept | The bits of IPv4 and of IPv6 addresses that are \
one client's network.
bare-newlines | line | reject | smtpd-accept | What becomes of a message of who may relay with a \
CR or LF that is no line end: `reject`, or `mend` for old clients; strangers' are always refused.
tarpit | duration | 1s | smtpd-accept | The longest wait of the answers to a stranger's mistakes: \
after three it is a second, and doubles; 0 for none.
checks | line | off | smtpd-accept | What is made of mail from strangers: `off`, `mark` (SPF, \
DKIM, DKIM2, ARC and DMARC are found out and written on top), `enforce` (and acted on).
authserv-id | line | me | smtpd-accept, local-deliver, relay-send | Who says so in \
Authentication-Results; strangers' fields with that name are removed.
arc-trusted | lines | none | smtpd-accept | Domains whose ARC seal is believed against DMARC.
dmarc-quarantine | line | junk | smtpd-accept | What becomes of mail that a domain wants \
quarantined: `junk`, `mark` or `reject`.
dnsbl | lines | none | smtpd-accept | DNS lists of clients, as postscreen writes them: \
`zen.example=127.0.0.[2..11]*2`, a negative weight allows.
dnsbl-threshold | number | 1 | smtpd-accept | The sum of weights from which a client is refused.
content-programs | lines | none | smtpd-accept | Programs that look at each message before it is \
taken, a command line each: smtpd-accept(8).
milters | lines | none | smtpd-accept | Milters that have a say in each session, as Postfix writes \
them: `inet:host:port` or `unix:/path`, then what is done without one's answer (`tempfail`, \
`accept`, `reject`, `quarantine`), how long an answer may take, and `exchange` or `submission` \
where it is asked on that side only: smtpd-accept(8).
milter-exempt | lines | none | smtpd-accept | Addresses and networks of clients that milters are \
not asked about.
rejects | duration | 0 | smtpd-accept, local-deliver | How long what was refused at its end is \
kept in the folder Rejects of its recipient; 0: it is not. The extra field rejects of an account \
goes before it.
greylist | duration | 0 | smtpd-accept | How long a sender nobody knows must wait before it comes \
again; 0 for never.
greylist-exempt | lines | none | smtpd-accept | Who never waits: networks, and domains that SPF, \
DKIM or DMARC proves.
dmarc-reports | flag | no | smtpd-accept, report-send | Whether what DMARC finds is noted where \
the author's domain asks for reports, and sent to it each day.
dmarc-failure-reports | flag | no | smtpd-accept, report-send | Whether messages that fail \
DMARC are noted where the author's domain asks for failure reports, and sent to it, with their \
headers redacted.
tls-reports | flag | no | relay-send, report-send | Whether the outcome of TLS with exchangers is \
noted where their domain asks for reports, and sent to it each day.
reports-size | size | 64M | smtpd-accept, relay-send | The most that is noted in a day for each \
kind of report, in octets; a domain that fills its share has the rest of its day left out, and its \
report says so.
report-from | line | none | report-send | The address reports come from, and the contact they \
name; without it postmaster of the first local domain.
report-organization | line | me | report-send | The organization that reports name.
report-bounces | line | none | report-send | The reverse-path of reports; without it the null one: \
what cannot be delivered is dropped.
report-ourselves | flag | no | report-send | Whether the local domains get reports too.
routes | map | none | relay-send | Where mail for a domain goes instead of its exchangers: \
`domain:host:port`; an empty domain is a smarthost for all, `.domain` takes subdomains.
tls-policy | map | none | relay-send | What is asked of TLS for a domain or the host of a \
route: `domain:none`, `may`, `encrypt`, `verify` or `dane`; an empty domain is all, `.domain` its \
subdomains. Elsewhere DANE and MTA-STS decide.
tls-memory | duration | 30d | relay-send | How long it is remembered that a host had TLS: where it \
fails then, mail waits instead of going in the clear; 0: it goes.
tls-patience | duration | 8h | relay-send | How long mail waits for that; then the host is \
forgotten, and mail goes in the clear.
sender-routes | map | none | relay-send | Where mail of a sender goes, in the same writing: \
`user@domain:host:port`, `domain:host:port`, `.domain`, `<>` for bounces. What routes says of the \
recipient's domain goes before, its smarthost for all comes after.
source-addresses | map | none | relay-send | From which address of this host mail goes out, and \
the name it greets by: `domain:IPv4,IPv6 name` by sender as in sender-routes, `to domain:...` by \
where it goes.
ipv6 | line | auto | relay-send | Whether mail goes out by IPv6: `yes`, `no` where IPv4 leads \
there, or `auto`: the same where our address has no name in DNS that leads back to it.
ignored-offers | map | none | relay-send | SMTP extensions that are not used with a domain or the \
host of a route, though it offers them: `domain:CHUNKING PIPELINING`; an empty domain is all, \
`.domain` its subdomains.
route-credentials | file | none | relay-send | Logins for the hosts of `routes`: \
`host:login:password`, `host:login:|program` for a password that a program prints, \
`host:login:!program` for a token; must not be readable by others.
dkim-keys | file | none | relay-send, mail-dkim | Who signs mail that is submitted here: \
`domain selector state since`, mailtools-dkim(5).
dkim-expire | duration | 0 | relay-send | How long a DKIM signature holds; 0 for ever.
arc-seal | flag | no | relay-send | Whether what is sent on for strangers gets an ARC seal, made \
with the DKIM key of this host's domain.
srs-secrets | file | none | smtpd-accept, local-deliver | Secrets, a line each and the newest \
first: what is sent on for strangers gets a reverse-path of ours (SRS); must not be readable by \
others.
batv-secrets | file | none | smtpd-accept, local-deliver, relay-send | Secrets, a line each and \
the newest first: the reverse-paths of mail that is submitted here, in domains of `locals`, carry \
a tag (BATV), and with `checks` a DSN to one without it is refused; must not be readable by others.
srs-domain | line | none | smtpd-accept, local-deliver | The local domain of these reverse-paths; \
without it the first of `locals`.
accounts | file | none | smtpd-accept, local-deliver, pop3d, imapd | Users, in the lines of \
Dovecot's passwd-file: mailtools-accounts(5).
system-users | flag | no | smtpd-accept, local-deliver, pop3d, imapd | Whether users of \
/etc/passwd get mail here too.
aliases | file | none | smtpd-accept, local-deliver | Other names and lists: mailtools-aliases(5).
virtual | file | none | smtpd-accept, local-deliver | Addresses of virtual domains and where they \
lead: mailtools-aliases(5).
extension-separators | line | + | smtpd-accept, local-deliver | Characters that part a user from \
an extension, as in user+extension; an empty file: none.
transports | map | none | queue-run | The agent for a domain: `domain:program arguments`.
auth-program | line | none | smtpd-accept, pop3d, imapd, mail-checkpassword | The program, with \
its arguments, that is asked for the passwords of users whose field in accounts is empty or x; it \
speaks the checkpassword interface.
auth-socket | path | none | smtpd-accept, pop3d, imapd, mail-checkpassword | Dovecot's auth \
socket, asked for the same passwords instead of a program.
pam-service | line | none | smtpd-accept, pop3d, imapd, mail-checkpassword | The PAM service, \
asked for the same passwords instead: a name in /etc/pam.d, or the path of such a file.
token-program | line | none | smtpd-accept, pop3d, imapd, mail-checkpassword | The program that \
checks the tokens of OAUTHBEARER and XOAUTH2, as auth-program does passwords: login, token and \
time on descriptor 3.
mailbox-owner | line | none | smtpd-accept, local-deliver, pop3d, imapd | The user who owns the \
mailboxes of accounts that name no uid; needed where these run as root.
maildir | line | ~/Maildir | smtpd-accept, local-deliver, pop3d, imapd, mail-account | The Maildir \
of an account that names none; %u is the login, %n its local-part, %d its domain.
message-size | size | 25M | smtpd-accept, sendmail, imapd | The largest message taken, in octets.
recipients | number | 1000 | smtpd-accept | The most recipients of a message.
hops | number | 100 | smtpd-accept, sendmail | The most Received fields of a message.
submit | line | /run/mailtools/submit | sendmail | Where sendmail gives mail when the queue is \
not its caller's to write: the path of a Unix socket, or host:port; `qmqp:host`: this host has no \
queue, and all mail goes there.
masquerade | line | none | sendmail | The domain of senders here, instead of `me`.
lifetime | duration | 5d | queue-run | How long a message is tried before it fails.
bounce-lifetime | duration | 1d | queue-run | The same for a message from the null reverse-path.
retry-first | duration | 5min | queue-run | The shortest wait between two attempts.
retry-most | duration | 4h | queue-run | The longest wait between two attempts.
delay-warning | duration | 4h | queue-run | When the sender is told of a delay; 0 for never.
history | duration | 14d | queue-run | How long it is kept what became of a message.
keep-failed | duration | 3d | queue-run | How long a message that failed for somebody is kept \
whole after its end, so that `queue-edit replay` can send it again; 0: it is not.
keep-delivered | duration | 0 | queue-run | The same for a message that all its recipients got.
hold | lines | none | queue-run | New messages that are held: `from PATTERN`, `to PATTERN`, \
`client NETWORK`, with * and ? in patterns.
suppress | duration | 0 | queue-run | How long an address that another host refused as unknown \
(5.1.1, 5.1.6, 5.1.10) fails at once; 0: it is tried.
destination-limits | map | none | queue-run | What a destination takes: \
`domain:connections` or `domain:connections/messages-per-minute`; an empty domain is all others, \
`.domain` its subdomains.
retry-classes | map | none | queue-run | Destinations with times of their own: \
`domain:first/most/lifetime/warning`, as retry-first, retry-most, lifetime and delay-warning; what \
is left out is as they say; an empty domain is all others, `.domain` its subdomains.
lease | duration | 0 | queue-run | For a queue on storage that several hosts share: how long after \
its last sign of life a host's queue run is taken for dead, and another takes over; 0: one host.
local-agents | number | 2 | queue-run | How many local-deliver processes run; \
up to eight more stand in for those that a user's program keeps.
relay-agents | number | 2 | queue-run | How many relay-send processes run.
mta-sts-folder | path | none | mail-sts, mail-check | The folder of a web server's files where \
MTA-STS policies of our domains are written.
resolver | line | the system's | relay-send, smtpd-accept, mail-dkim, mail-sts, report-send, \
report-read | The DNS server to ask: address or address:port.
tls-certificate | path | none | smtpd-accept, pop3d, imapd | The certificate chain, PEM.
tls-key | path | the certificate's file | smtpd-accept, pop3d, imapd | The private key, PEM.
tls-certificates | lines | none | smtpd-accept, pop3d, imapd | More certificates: `name: \
certificate key`, PEM files, for clients that ask for that host name; `*.domain` is any name in \
it, `*` every one. Two lines of a name make a pair, RSA and ECDSA.
tls-tickets | flag | yes | smtpd-accept, pop3d, imapd | Whether TLS sessions may be resumed by \
tickets.
tls-clients | path | none | smtpd-accept, pop3d, imapd | Certificates of clients, or of \
authorities that issue them, PEM. Clients are asked for one while an account has the extra field \
cert; one that is not of this file ends the handshake.
exchange-login | flag | yes | smtpd-accept | Whether mail clients may log in at port 25, too, \
not at submission services alone: no client has to, and many guess passwords there.
plaintext-login | flag | no | smtpd-accept, pop3d, imapd | Whether passwords are taken without \
TLS (never on a network that others can read).
cram-md5 | flag | no | smtpd-accept, pop3d, imapd | Whether CRAM-MD5 is offered to old clients, \
after all else, where the secrets of all accounts are {PLAIN} or {CRAM-MD5}: who listens or \
steals the file breaks those easily.
apop | flag | no | pop3d | Whether POP3's APOP is offered, where the secrets of all accounts are \
{PLAIN}: for clients that know nothing else.
"""


def _read_table() -> dict[str, Setting]:
    rows = (line.split(" | ") for line in _TABLE.replace("\\\n", "").strip().split("\n"))
    return {row[0]: Setting(*row) for row in rows}


SETTINGS: dict[str, Setting] = _read_table()
