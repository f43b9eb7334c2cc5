#!/bin/sh
# A line of content-programs: what ClamAV's daemon finds is refused.
#   /etc/mailtools/content/clamdscan.sh
# clamd must run; the message goes to it over its socket, so it needs no right to read any file.
# CLAMD_CONF, where it is set in that line, names another clamd.conf.

said=$(clamdscan ${CLAMD_CONF:+--config-file="$CLAMD_CONF"} --no-summary --stream - 2>&1)
case $? in
0) exit 0 ;;
1) # "stream: Name-of-it FOUND", or "instream(local): ..."
	name=$(printf '%s\n' "$said" | sed -n 's/^.*: \(.*\) FOUND$/\1/p' | head -n 1)
	echo "This message holds malware: ${name:-of a kind that has no name}" >&2
	exit 31 ;;
*) echo "$said" | head -n 1 | sed 's/^/clamdscan: /' >&2
	echo "The virus scanner does not answer, try again later" >&2
	exit 75 ;;
esac
