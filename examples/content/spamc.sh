#!/bin/sh
# A line of content-programs: SpamAssassin marks what it takes for spam, which goes to Junk.
#   /etc/mailtools/content/spamc.sh
#   REFUSE=15 /etc/mailtools/content/spamc.sh     and refuses it from that score on
# spamd must run. SPAMC_OPTIONS are further options of spamc(1).
# The message stays as it came, whatever report_safe says: only SpamAssassin's fields are put on top.

LC_ALL=C export LC_ALL
folder=$(mktemp -d) || exit 75
trap 'rm -rf "$folder"' EXIT
cat > "$folder/message" || exit 75
# -x: no message unscanned when spamd does not answer; then the exit code is not 0.
spamc -x ${SPAMC_OPTIONS:-} < "$folder/message" > "$folder/marked" || {
	echo "The spam filter does not answer, try again later" >&2
	exit 75
}
# Its fields, up to the empty line: a field goes on in lines that begin with space or TAB.
awk '/^$/ { exit } /^[^ \t]/ { on = /^X-Spam-/ } on' "$folder/marked" > "$folder/fields"
status=$(sed -n 's/^X-Spam-Status: \([A-Za-z]*\), score=\(-\{0,1\}[0-9]*\).*/\1 \2/p' "$folder/fields")
verdict=${status% *} score=${status##* }
if [ "$verdict" = Yes ] && [ -n "${REFUSE:-}" ] && [ "${score:-0}" -ge "$REFUSE" ]; then
	echo "This message looks like spam" >&2
	exit 31
fi
cat "$folder/fields" || exit 75
# The message without such fields of somebody else.
awk 'body { print; next } /^$/ { body = 1; print; next }
	/^[^ \t]/ { on = tolower($0) ~ /^x-spam-/ } !on' "$folder/message" || exit 75
[ "$verdict" = Yes ] && exit 99
exit 0
