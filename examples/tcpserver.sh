#!/bin/sh
# Under tcpserver (ucspi-tcp), as qmail is run: a process a connection, at most 40 of them.
# Give other HOST, PORT or command: tcpserver.sh 0 110 pop3d; tcpserver.sh 0 209 smtpd-accept --qmtp
host=${1-0} port=${2-25}
[ $# -gt 2 ] || set -- "$host" "$port" smtpd-accept
shift 2
exec tcpserver -H -R -l0 -c 40 "$host" "$port" "$@"
