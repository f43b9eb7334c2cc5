#!/bin/sh
# A line of content-programs: rspamd's verdict becomes refused, put off, Junk or taken.
#   /etc/mailtools/content/rspamc.sh
# rspamd's normal worker must run (RSPAMD=host:port, where it is not localhost:11333). As a milter
# (control file milters) rspamd can do more: it sees the session, and may add fields of its own.

answer=$(rspamc -h "${RSPAMD:-localhost:11333}" -t 60 ${TCPREMOTEIP:+--ip="$TCPREMOTEIP"} \
	--from="$SENDER" ${USER:+--user="$USER"} \
	${HELO:+--helo="$HELO"} ${TCPREMOTEHOST:+--hostname="$TCPREMOTEHOST"} symbols)
action=$(printf '%s\n' "$answer" | sed -n 's/^Action: //p' | head -n 1)
case $action in
"no action") exit 0 ;;
"add header" | "rewrite subject") exit 99 ;;
greylist | "soft reject")
	echo "Try again later" >&2
	exit 75 ;;
reject)
	reason=$(printf '%s\n' "$answer" | sed -n 's/^Message - smtp_message: //p' | head -n 1)
	echo "${reason:-This message looks like spam}" >&2
	exit 31 ;;
*) echo "The spam filter does not answer, try again later" >&2
	exit 75 ;;
esac
