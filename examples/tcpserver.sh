#!/bin/sh
# Under tcpserver (ucspi-tcp), as qmail is run: a process a connection, at most 40 of them.
# Give other HOST, PORT or command: tcpserver.sh 0 110 pop3d
exec tcpserver -H -R -l0 -c 40 "${1-0}" "${2-25}" "${3-smtpd-accept}"
